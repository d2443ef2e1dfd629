"""The Mosquitto configuration: rendered with a reason for every line, and read back for its listeners."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

from broker_config.certificates import Tls, key_beside
from broker_config.limits import (
    DEVICE_CONNECTIONS_MAX,
    LIMITS,
    PERSISTENCE,
    SERVICE_CONNECTIONS_MAX,
    Setting,
)
from broker_config.settings import BrokerSettings, bound_address

_LISTENER = re.compile(r"^listener[ \t]+(?P<port>\d+)(?:[ \t]+(?P<host>\S+))?[ \t]*$", re.MULTILINE)
_CERTIFICATE = re.compile(r"^certfile[ \t]", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Listener:
    """One `listener` line."""

    port: int
    host: str
    """Empty when it listens on every address."""
    is_tls: bool = False


@dataclass(frozen=True, slots=True)
class Paths:
    """The files that the configuration names."""

    access: Path
    tls: Tls
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
    matches = list(_LISTENER.finditer(configuration))
    ends = [match.start() for match in matches[1:]] + [len(configuration)]
    return tuple(
        Listener(
            int(match["port"]),
            match["host"] or "",
            _CERTIFICATE.search(configuration, match.end(), end) is not None,
        )
        for match, end in zip(matches, ends, strict=True)
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
    tls = paths.tls
    devices = _listener(settings.port, settings.host)
    services = _listener(settings.service_port, settings.service_host)
    return f"""\
# Nobody gets in without a certificate. Rights hold for every listener.
per_listener_settings false
allow_anonymous false
acl_file {paths.access}

# Devices. The name in the certificate is the user name, and replaces the client id, so that no device can
# take over another one's connection by using its client id. Only the devices' own authority is believed:
# whoever may sign below `cafile` may be any device.
{devices}
{_tls_lines(tls, tls.devices_authority, tls.devices_revoked)}
use_username_as_clientid true
max_connections {DEVICE_CONNECTIONS_MAX}

# Collector and help desk, who open several connections with one account: one for each partition owned,
# one for each screen watched. Another authority signs them, so no device's certificate opens this door.
{services}
{_tls_lines(tls, tls.servers_authority, tls.services_revoked)}
max_connections {SERVICE_CONNECTIONS_MAX}"""


def _listener(port: int, host: str) -> str:
    return f"listener {port} {bound_address(host)}".rstrip()


def _tls_lines(tls: Tls, authority: Path, revoked: Path) -> str:
    return f"""\
cafile {authority}
certfile {tls.server}
keyfile {key_beside(tls.server)}
crlfile {revoked}
require_certificate true
use_identity_as_username true
tls_version tlsv1.2"""


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
