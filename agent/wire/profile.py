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
    """Show the page while the device is set up."""
    block_until_complete: bool = True
    """Keep the device locked until the blocking apps are in."""


class AccountSetupSettings(Wire):
    """The user account setup block of the page."""

    show_progress: bool = True
    """Show the page while the account is set up."""
    block_until_complete: bool = False
    """Keep the device locked until account setup is complete too."""
    allow_skip: bool = True
    """Offer to skip account setup."""


class ErrorHandling(Wire):
    """What the person sees and may do when something failed."""

    show_details: bool = True
    """Show what failed; without, the person reads the message alone."""
    allow_retry: bool = True
    """Offer to try again."""
    allow_reset: bool = False
    """Offer to reset the device."""
    allow_continue: bool = False
    """Offer to use the device anyway."""
    allow_log_collection: bool = False
    """Offer to collect the logs."""


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
    """The profile's id."""
    name: Name
    """The name that administrators read."""
    description: Text = ""
    """What administrators wrote about it."""
    timeout_minutes: Minutes = 60
    """One budget for each context."""
    device_setup: DeviceSetupSettings = DeviceSetupSettings()
    """The page while the device is set up."""
    account_setup: AccountSetupSettings = AccountSetupSettings()
    """The page while the account is set up."""
    blocking_apps: BlockingApps = "all"
    """`all` required apps, or these. The list filters what is assigned; it assigns nothing."""
    error_handling: ErrorHandling = ErrorHandling()
    """What a person may do when something has failed."""
    windows: WindowsSettings = WindowsSettings()
    """What only Windows has."""
    custom_message: CustomMessage | None = None
    """The organization's own words on the page."""
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
