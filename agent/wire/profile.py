"""The ESP profile: every setting of the enrollment status page."""

from __future__ import annotations

import json
from typing import Annotated, Literal

from pydantic import Field, JsonValue, field_validator

from agent.wire.base import CustomMessage, Identifier, Name, Text, Wire

Minutes = Annotated[int, Field(ge=1, le=1440)]
BlockingApps = Literal["all"] | tuple[Identifier, ...]

BLOCKING_APPS_MAX = 100


class DeviceSetupSettings(Wire):
    """The device setup block of the page."""

    show_progress: bool = True
    block_until_complete: bool = True


class AccountSetupSettings(Wire):
    """The user account setup block of the page."""

    show_progress: bool = True
    block_until_complete: bool = False
    allow_skip: bool = True


class ErrorHandling(Wire):
    """What the person sees and may do when something failed."""

    show_details: bool = True
    allow_retry: bool = True
    allow_reset: bool = False
    allow_continue: bool = False
    allow_log_collection: bool = False


class WindowsSettings(Wire):
    """What only the Windows page has."""

    only_out_of_box: bool = False
    """No page on devices that were not set up out of the box."""
    quality_updates: bool = False
    """Install Windows quality updates after the page, before the person gets in; needs device blocking."""
    technician_installs_all: bool = False
    """Pre-provisioning: all required apps are tried in the technician's part, and only the blocking ones may fail it."""


class EspProfile(Wire):
    """One ESP profile.

    The limits (1 to 1440 minutes, a custom message of 10,000 characters, 100 blocking apps) are those of the
    Windows enrollment status page.
    """

    id: Identifier
    name: Name
    description: Text = ""
    timeout_minutes: Minutes = 60
    """One budget for each context."""
    device_setup: DeviceSetupSettings = DeviceSetupSettings()
    account_setup: AccountSetupSettings = AccountSetupSettings()
    blocking_apps: BlockingApps = "all"
    """`all` required apps, or these. The list filters what is assigned; it assigns nothing."""
    error_handling: ErrorHandling = ErrorHandling()
    windows: WindowsSettings = WindowsSettings()
    custom_message: CustomMessage | None = None
    graph: dict[str, JsonValue] = {}
    """What an imported Graph object had, kept for export: `agent.wire.graph` reads and writes it."""

    @field_validator("graph")
    @classmethod
    def _finite(cls, value: dict[str, JsonValue]) -> dict[str, JsonValue]:
        try:
            json.dumps(value, allow_nan=False)
        except ValueError:
            raise ValueError(
                "a number is not finite, which JSON can't carry; leave it out"
            ) from None
        return value

    @field_validator("blocking_apps")
    @classmethod
    def _few_and_distinct(cls, value: BlockingApps) -> BlockingApps:
        if value == "all":
            return value
        if len(value) > BLOCKING_APPS_MAX:
            raise ValueError(
                f"at most {BLOCKING_APPS_MAX} blocking apps; use 'all' to block on every required app"
            )
        if len(set(value)) != len(value):
            raise ValueError("an app is listed twice; list each blocking app once")
        return value
