"""A Graph object comes back unchanged, and each of its properties has the effect here that it has there."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.wire.graph import (
    FIELDS,
    GRAPH_TYPE,
    KEPT,
    TYPE_KEY,
    GraphRefused,
    profile_from_graph,
    profile_to_graph,
)
from agent.wire.profile import (
    AccountSetupSettings,
    DeviceSetupSettings,
    ErrorHandling,
    EspProfile,
    WindowsSettings,
)
from tests.agent.wire.strategies import JSON, messages

APP = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
PROFILE_ID = "11111111-2222-3333-4444-555555555555_Windows10EnrollmentCompletionPageConfiguration"
CONTEXT = "https://graph.microsoft.com/beta/$metadata#deviceManagement/deviceEnrollmentConfigurations/$entity"
LAPTOPS: dict[str, Any] = {
    "@odata.context": CONTEXT,
    TYPE_KEY: GRAPH_TYPE,
    "id": PROFILE_ID,
    "displayName": "ESP - corporate laptops",
    "description": "",
    "priority": 3,
    "createdDateTime": "2025-08-21T04:44:51.8433388Z",
    "lastModifiedDateTime": "2025-08-21T04:44:51.8433388Z",
    "version": 1,
    "roleScopeTagIds": ["0"],
    "deviceEnrollmentConfigurationType": "windows10EnrollmentCompletionPageConfiguration",
    "showInstallationProgress": True,
    "blockDeviceSetupRetryByUser": False,
    "allowDeviceResetOnInstallFailure": True,
    "allowLogCollectionOnInstallFailure": True,
    "customErrorMessage": "Setup could not be completed. Call 4242.",
    "installProgressTimeoutInMinutes": 45,
    "allowDeviceUseOnInstallFailure": True,
    "selectedMobileAppIds": [APP],
    "allowNonBlockingAppInstallation": True,
    "installQualityUpdates": False,
    "trackInstallProgressForAutopilotOnly": True,
    "disableUserStatusTrackingAfterFirstUser": True,
}
DEFAULT: dict[str, Any] = {
    **LAPTOPS,
    "id": "11111111-2222-3333-4444-555555555555_DefaultWindows10EnrollmentCompletionPageConfiguration",
    "displayName": "All users and all devices",
    "priority": 0,
    "createdDateTime": "0001-01-01T00:00:00Z",
    "deviceEnrollmentConfigurationType": "defaultWindows10EnrollmentCompletionPageConfiguration",
    "showInstallationProgress": False,
    "blockDeviceSetupRetryByUser": True,
    "allowDeviceResetOnInstallFailure": False,
    "allowLogCollectionOnInstallFailure": False,
    "customErrorMessage": None,
    "installProgressTimeoutInMinutes": 0,
    "allowDeviceUseOnInstallFailure": False,
    "selectedMobileAppIds": [],
}
FLAGS = st.none() | st.booleans()
IDS = st.uuids().map(str)
KNOWN: dict[str, st.SearchStrategy[Any]] = {
    "description": st.none() | st.text(max_size=30),
    "showInstallationProgress": FLAGS,
    "blockDeviceSetupRetryByUser": FLAGS,
    "allowDeviceResetOnInstallFailure": FLAGS,
    "allowLogCollectionOnInstallFailure": FLAGS,
    "allowDeviceUseOnInstallFailure": FLAGS,
    "customErrorMessage": st.none() | st.text(max_size=30),
    "trackInstallProgressForAutopilotOnly": FLAGS,
    "installQualityUpdates": FLAGS,
    "allowNonBlockingAppInstallation": FLAGS,
    "installProgressTimeoutInMinutes": st.none() | st.integers(0, 1440) | st.sampled_from([0, 60]),
    "selectedMobileAppIds": st.none() | st.lists(IDS, max_size=3, unique=True),
    **dict.fromkeys(KEPT.keys() - {TYPE_KEY}, JSON),
}
REQUIRED = {
    TYPE_KEY: st.just(GRAPH_TYPE),
    "id": IDS.map(lambda guid: f"{guid}_Windows10EnrollmentCompletionPageConfiguration"),
    "displayName": st.text(min_size=1, max_size=30),
}


@st.composite
def graph_objects(draw: st.DrawFn) -> dict[str, Any]:
    """Objects with any of the known properties, and with others."""
    known = draw(st.fixed_dictionaries(REQUIRED, optional=KNOWN))
    return {**draw(st.dictionaries(st.text(max_size=10), JSON, max_size=3)), **known}


def changed(profile: EspProfile, **settings: Any) -> EspProfile:
    return EspProfile.model_validate({**dict(profile), **settings})


def test_every_property_of_the_resource_is_set_or_kept() -> None:
    assert {field.key for field in FIELDS} | KEPT.keys() == LAPTOPS.keys() | {"assignments"}


def test_a_captured_object_sets_what_it_says() -> None:
    profile = profile_from_graph(LAPTOPS)
    assert profile.model_copy(update={"graph": {}}) == EspProfile(
        id=PROFILE_ID,
        name="ESP - corporate laptops",
        timeout_minutes=45,
        blocking_apps=(APP,),
        custom_message="Setup could not be completed. Call 4242.",
        error_handling=ErrorHandling(
            allow_retry=True, allow_reset=True, allow_continue=True, allow_log_collection=True
        ),
        windows=WindowsSettings(only_out_of_box=True, technician_installs_all=True),
    )


def test_the_message_and_the_apps_travel_to_a_device_only_once() -> None:
    content = profile_from_graph(LAPTOPS).model_dump_json()
    assert (content.count("Call 4242"), content.count(APP)) == (1, 1)


def test_the_untouched_default_profile_shows_no_page_and_has_the_default_timeout() -> None:
    profile = profile_from_graph(DEFAULT)
    assert profile.timeout_minutes == 60
    assert profile.blocking_apps == "all"
    assert profile.custom_message is None
    assert not profile.device_setup.show_progress
    assert not profile.account_setup.show_progress
    assert not profile.error_handling.allow_retry


@pytest.mark.parametrize("content", [LAPTOPS, DEFAULT], ids=["laptops", "default"])
def test_a_real_object_comes_back_unchanged(content: dict[str, Any]) -> None:
    assert profile_to_graph(profile_from_graph(content)) == content


def test_the_documentations_wrapping_is_taken_off() -> None:
    assert profile_from_graph({"value": LAPTOPS}) == profile_from_graph(LAPTOPS)


@given(graph_objects())
def test_any_object_comes_back_unchanged(content: dict[str, Any]) -> None:
    """Through the form in which the store and the API carry a profile, too."""
    profile = EspProfile.model_validate_json(profile_from_graph(content).model_dump_json())
    # As text, because to Python 1, 1.0 and True are equal.
    back = json.dumps(profile_to_graph(profile), sort_keys=True)
    assert back == json.dumps(content, sort_keys=True)


@given(messages(EspProfile).filter(lambda profile: profile.blocking_apps != ()))
def test_a_profile_made_here_exports_every_property_with_a_setting(profile: EspProfile) -> None:
    own = profile.model_copy(update={"graph": {}})
    exported = profile_to_graph(own)
    assert exported.keys() == {TYPE_KEY, *(field.key for field in FIELDS)}
    assert profile_to_graph(profile_from_graph(exported)) == exported
    assert profile_from_graph(exported).error_handling == own.error_handling.model_copy(
        update={"show_details": True}
    )


@pytest.mark.parametrize(
    ("settings", "key", "value"),
    [
        ({"timeout_minutes": 90}, "installProgressTimeoutInMinutes", 90),
        ({"error_handling": ErrorHandling(allow_retry=True)}, "blockDeviceSetupRetryByUser", False),
        ({"blocking_apps": (APP,)}, "selectedMobileAppIds", [APP]),
        ({"custom_message": "Call us."}, "customErrorMessage", "Call us."),
        ({"device_setup": DeviceSetupSettings()}, "showInstallationProgress", True),
        ({"account_setup": AccountSetupSettings()}, "showInstallationProgress", True),
    ],
)
def test_a_setting_changed_after_the_import_is_exported_and_nothing_else_changes(
    settings: dict[str, Any], key: str, value: Any
) -> None:
    exported = profile_to_graph(changed(profile_from_graph(DEFAULT), **settings))
    assert exported == {**DEFAULT, key: value}


@pytest.mark.parametrize(
    ("settings", "key", "value"),
    [
        ({"timeout_minutes": 60}, "installProgressTimeoutInMinutes", 60),
        ({"blocking_apps": "all"}, "selectedMobileAppIds", []),
        ({"custom_message": None}, "customErrorMessage", None),
        (
            {"error_handling": ErrorHandling(allow_reset=True, allow_log_collection=True)},
            "allowDeviceUseOnInstallFailure",
            False,
        ),
    ],
)
def test_a_setting_put_back_to_its_default_is_still_exported(
    settings: dict[str, Any], key: str, value: Any
) -> None:
    """Graph leaves what an update does not name as it was."""
    exported = profile_to_graph(changed(profile_from_graph(LAPTOPS), **settings))
    assert exported == {**LAPTOPS, key: value}


def test_a_kept_value_that_is_no_value_of_its_property_is_replaced() -> None:
    profile = EspProfile(id="p", name="n", graph={"customErrorMessage": 5})
    assert profile_to_graph(profile)["customErrorMessage"] is None


@pytest.mark.parametrize(
    ("content", "key", "sentence"),
    [
        ({"displayName": None}, "displayName", "is missing; add it"),
        ({"id": "a/b"}, "id", "should match pattern"),
        ({TYPE_KEY: "#microsoft.graph.deviceEnrollmentLimitConfiguration"}, TYPE_KEY, "is no ESP"),
        ({"showInstallationProgress": 1}, "showInstallationProgress", "has to be true or false"),
        (
            {"installProgressTimeoutInMinutes": True},
            "installProgressTimeoutInMinutes",
            "has to be a whole number",
        ),
        (
            {"installProgressTimeoutInMinutes": 1441},
            "installProgressTimeoutInMinutes",
            "less than or equal to 1440",
        ),
        ({"customErrorMessage": "x" * 10_001}, "customErrorMessage", "at most 10000"),
        ({"selectedMobileAppIds": [APP, APP]}, "selectedMobileAppIds", "an app is listed twice"),
        ({"selectedMobileAppIds": [7]}, "selectedMobileAppIds", "valid string"),
        ({"extra": ["\ud800"]}, "extra", "half a character"),
        ({"version": float("nan")}, "version", "finite"),
    ],
)
def test_what_no_profile_can_have_is_refused_with_the_property(
    content: dict[str, Any], key: str, sentence: str
) -> None:
    with pytest.raises(GraphRefused) as refused:
        profile_from_graph({**LAPTOPS, **content})
    assert refused.value.key == key
    assert sentence in refused.value.sentence


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, f"{TYPE_KEY}: is missing; add it with the value '{GRAPH_TYPE}'"),
        ({"value": [LAPTOPS]}, "value: is not one object; give the object of a single ESP profile"),
    ],
)
def test_what_is_no_object_of_an_esp_profile_is_refused(
    content: dict[str, Any], message: str
) -> None:
    with pytest.raises(GraphRefused) as refused:
        profile_from_graph(content)
    assert str(refused.value) == message


def test_a_profile_that_blocks_on_no_app_has_no_equal_in_graph() -> None:
    with pytest.raises(GraphRefused, match="blocking_apps: names no app"):
        profile_to_graph(EspProfile(id="p", name="n", blocking_apps=()))
