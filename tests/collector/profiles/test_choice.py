"""The profile goes by the device's groups first, then by the user's, then by default."""

from __future__ import annotations

import pytest

from agent.wire.profile import EspProfile
from agent.wire.vocabulary import Variant
from collector.profiles.choice import StoredProfile, choose


def profile(
    name: str, priority: int, *groups: str, active: bool = True, default: bool = False
) -> StoredProfile:
    return StoredProfile(
        EspProfile(id=name, name=name), priority, groups, active=active, default=default
    )


def chosen(
    profiles: list[StoredProfile],
    devices: str = "",
    users: str = "",
    variant: Variant = Variant.STANDARD,
) -> str | None:
    found = choose(profiles, devices.split(), users.split(), variant).chosen
    return None if found is None else found.stored.profile.id


def reasons(
    *profiles: StoredProfile,
    devices: str = "",
    users: str = "",
    variant: Variant = Variant.STANDARD,
) -> dict[str, str]:
    """Every profile's reason, the chosen one's first."""
    choice = choose(profiles, devices.split(), users.split(), variant)
    first = () if choice.chosen is None else (choice.chosen,)
    return {c.stored.profile.id: c.reason for c in (*first, *choice.rejected)}


DEFAULT = profile("default", 0, default=True)


def test_the_lowest_number_among_the_devices_groups_wins() -> None:
    profiles = [profile("second", 2, "kiosk"), profile("first", 1, "lobby"), DEFAULT]
    assert chosen(profiles, devices="kiosk lobby") == "first"


def test_the_device_comes_before_the_user_whatever_the_priority() -> None:
    profiles = [profile("for-users", 1, "executives"), profile("for-devices", 9, "kiosk"), DEFAULT]
    assert chosen(profiles, devices="kiosk", users="executives") == "for-devices"


def test_the_users_groups_count_where_the_device_has_no_profile() -> None:
    profiles = [profile("for-users", 5, "executives"), DEFAULT]
    assert chosen(profiles, devices="kiosk", users="executives") == "for-users"


def test_the_default_comes_last_although_its_number_is_the_lowest() -> None:
    profiles = [DEFAULT, profile("for-users", 5, "executives")]
    assert chosen(profiles, users="executives") == "for-users"
    assert chosen(profiles) == "default"


def test_a_default_for_all_devices_still_comes_last() -> None:
    default = profile("default", 0, "All Devices", default=True)
    assert (
        chosen([default, profile("for-users", 5, "executives")], users="executives") == "for-users"
    )


def test_every_device_is_in_all_devices_and_every_user_in_all_users() -> None:
    assert chosen([profile("everybody", 1, "All Devices"), DEFAULT]) == "everybody"
    assert chosen([profile("everybody", 1, "All Users"), DEFAULT]) == "everybody"


def test_an_inactive_profile_is_passed_over() -> None:
    profiles = [profile("off", 1, "kiosk", active=False), profile("on", 2, "kiosk"), DEFAULT]
    assert chosen(profiles, devices="kiosk") == "on"


def test_with_nothing_active_there_is_no_profile() -> None:
    assert chosen([profile("default", 0, default=True, active=False)]) is None


def test_equal_priorities_are_told_apart_by_the_id_so_that_the_choice_is_stable() -> None:
    profiles = [profile("b", 1, "kiosk"), profile("a", 1, "kiosk")]
    assert chosen(profiles, devices="kiosk") == "a"
    assert chosen(profiles[::-1], devices="kiosk") == "a"


WITHOUT_USER = (Variant.SELF_DEPLOYING, Variant.PRE_PROVISIONED)


@pytest.mark.parametrize("variant", Variant)
@pytest.mark.parametrize("group", ["executives", "All Users"])
def test_groups_of_the_user_do_not_count_where_setup_runs_without_the_user(
    group: str, variant: Variant
) -> None:
    profiles = [profile("for-users", 1, group), DEFAULT]
    expected = "default" if variant in WITHOUT_USER else "for-users"
    assert chosen(profiles, users="executives", variant=variant) == expected


@pytest.mark.parametrize("variant", WITHOUT_USER)
def test_groups_of_the_device_count_in_every_variant(variant: Variant) -> None:
    profiles = [profile("for-both", 1, "executives", "kiosk"), DEFAULT]
    assert chosen(profiles, devices="kiosk", users="executives", variant=variant) == "for-both"


def test_every_profile_stands_in_the_choice_once_with_a_reason() -> None:
    told = reasons(
        profile("second", 2, "kiosk"),
        profile("first", 1, "lobby", "kiosk"),
        profile("off", 1, "kiosk", active=False),
        profile("for-users", 0, "executives"),
        profile("elsewhere", 1, "warehouse", "shop"),
        profile("nobody", 1),
        DEFAULT,
        devices="kiosk",
        users="executives",
    )
    assert told == {
        "first": "assigned to the device by kiosk; of 2 such profiles it has the highest priority",
        "for-users": "assigned to the user by executives, but first is assigned to the device, and that goes first",
        "elsewhere": "neither the device nor its user is in warehouse or shop",
        "nobody": "assigned to no group",
        "off": "inactive",
        "second": "assigned to the device by kiosk, with a lower priority (2) than first (1)",
        "default": "the default stands behind all others, and first applies",
    }


def test_the_only_profile_of_the_device_needs_no_comparison() -> None:
    told = reasons(profile("only", 1, "All Devices"), DEFAULT)
    assert told["only"] == "assigned to the device by All Devices"


def test_a_profile_of_the_user_says_that_the_device_has_none() -> None:
    told = reasons(
        profile("mine", 5, "executives"), profile("other", 1, "kiosk"), users="executives"
    )
    assert told["mine"] == (
        "assigned to the user by executives; none that is assigned to the device applies"
    )


def test_the_default_says_that_nothing_else_applies() -> None:
    assert reasons(DEFAULT, profile("other", 1, "kiosk"))["default"] == (
        "the default, and no other profile applies"
    )


def test_equal_priorities_are_told_as_such() -> None:
    told = reasons(profile("b", 1, "kiosk"), profile("a", 1, "kiosk"), devices="kiosk")
    assert told["b"] == (
        "assigned to the device by kiosk, with the same priority 1 as a, whose id comes first"
    )


def test_of_two_defaults_the_second_is_told_by_its_priority() -> None:
    told = reasons(DEFAULT, profile("spare", 4, default=True))
    assert told["spare"] == "the default, with a lower priority (4) than default (0)"


@pytest.mark.parametrize("variant", WITHOUT_USER)
def test_a_group_of_the_user_that_does_not_count_is_told_with_the_variant(variant: Variant) -> None:
    told = reasons(profile("mine", 1, "executives"), DEFAULT, users="executives", variant=variant)
    assert told["mine"] == (
        f"assigned to the user by executives, and in {variant.value.replace('_', '-')} enrollment the user is unknown "
        "during device setup, so groups of the user do not count"
    )


def test_without_any_choice_every_profile_still_has_its_reason() -> None:
    assert reasons(profile("default", 0, default=True, active=False)) == {"default": "inactive"}
