"""The Mosquitto configuration: rendered with a reason for every line, and read back for its listeners."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

from broker_config.limits import (
    DEVICE_CONNECTIONS_MAX,
    LIMITS,
    PERSISTENCE,
    SERVICE_CONNECTIONS_MAX,
    Setting,
)
from broker_config.settings import LOOPBACK, BrokerSettings

_LISTENER = re.compile(r"^listener[ \t]+(?P<port>\d+)(?:[ \t]+(?P<host>\S+))?[ \t]*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Listener:
    """One `listener` line."""

    port: int
    host: str
    """Empty when it listens on every address."""


@dataclass(frozen=True, slots=True)
class Paths:
    """The files that the configuration names."""

    access: Path
    passwords: Path
    data: Path


def render(settings: BrokerSettings, paths: Paths, account: str | None) -> str:
    """The content of `mosquitto.conf`.

    `account` is the system account that owns the files; None leaves the line out.
    """
    parts = [
        "# Mosquitto configuration, made by `esp-broker init`. It is yours to edit: init never overwrites it.",
        _development(settings, paths) if settings.development else _hardened(settings, paths),
        *(_line(setting) for setting in LIMITS),
        *(_line(setting) for setting in PERSISTENCE),
        f"persistence_location {paths.data}/",
        _log(),
    ]
    if account is not None:
        parts.append(_account(account))
    return "\n\n".join(parts) + "\n"


def listeners(configuration: str) -> tuple[Listener, ...]:
    """The listeners of a configuration, in its order."""
    return tuple(
        Listener(int(match["port"]), match["host"] or "")
        for match in _LISTENER.finditer(configuration)
    )


def with_ports(configuration: str, ports: dict[int, int]) -> str:
    """The configuration with other port numbers for some of its listeners."""

    def replaced(match: re.Match[str]) -> str:
        port = int(match["port"])
        return f"listener {ports.get(port, port)} {match['host'] or ''}".rstrip()

    return _LISTENER.sub(replaced, configuration)


def _development(settings: BrokerSettings, paths: Paths) -> str:
    return f"""\
# For development: whoever reaches this listener may do everything without a password. That is why it
# listens on loopback and nowhere else.
listener {settings.port} {settings.host}
allow_anonymous true
acl_file {paths.access}"""


def _hardened(settings: BrokerSettings, paths: Paths) -> str:
    return f"""\
# Nobody gets in without an account. Accounts and rights hold for every listener.
per_listener_settings false
allow_anonymous false
password_file {paths.passwords}
acl_file {paths.access}

# Devices. The client id is replaced by the user name that was checked, so that no device can take over
# another one's connection by using its client id. Passwords travel as they are: leave this listener on
# loopback, or give it cafile, certfile and keyfile, before devices reach it over a network.
listener {settings.port} {settings.host}
use_username_as_clientid true
max_connections {DEVICE_CONNECTIONS_MAX}

# Collector and help desk, who open several connections with one account: one for each partition owned,
# one for each screen watched. On this machine only.
listener {settings.service_port} {LOOPBACK}
max_connections {SERVICE_CONNECTIONS_MAX}"""


def _line(setting: Setting) -> str:
    reason = textwrap.fill(setting.why, 100, initial_indent="# ", subsequent_indent="# ")
    return f"{reason}\n{setting.name} {setting.value}"


def _log() -> str:
    return """\
# To standard error, where whoever starts the broker collects it. Connections are logged with the account
# and without anything that it sent.
log_dest stderr
log_type error
log_type warning
log_type notice
connection_messages true"""


def _account(account: str) -> str:
    return f"""\
# Read only when root starts Mosquitto: it then gives up its rights for this account, which has to own
# this directory.
user {account}"""
