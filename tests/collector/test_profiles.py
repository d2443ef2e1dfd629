"""The profile goes by the device's groups first, then by the user's, then by default."""

from __future__ import annotations

from agent.wire.profile import EspProfile
from collector.profiles import StoredProfile, choose


def profile(
    name: str, priority: int, *groups: str, active: bool = True, default: bool = False
) -> StoredProfile:
    return StoredProfile(
        EspProfile(id=name, name=name), priority, groups, active=active, default=default
    )


def chosen(profiles: list[StoredProfile], devices: str = "", users: str = "") -> str | None:
    found = choose(profiles, devices.split(), users.split())
    return None if found is None else found.profile.id


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
