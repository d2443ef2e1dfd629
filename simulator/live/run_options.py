"""What a live run is asked for, and what it takes from files: identities, the collector's token and its key."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)

from agent.given import BadInput, load_identity
from agent.wire.identity import Identity, TrustedKey, key_id
from simulator.live.storms import PlannedStorm
from simulator.population import SimulatedDevice
from simulator.scenario import Scenario

RAMP_PER_S: Final = 100.0
UNPACED: Final = 1e9
"""Connections a second for agents whose starts are planned already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveOptions:
    """What `esp-sim run` was asked for; None starts one of its own, or takes the scenario's value."""

    scenario: Scenario
    scenario_file: Path
    devices: int
    seed: int
    speed: float
    workers: int = 1
    ramp_per_s: float = RAMP_PER_S
    storms: tuple[PlannedStorm, ...] = ()
    broker: str | None = None
    collector: str | None = None
    token_file: Path | None = None
    trust: Path | None = None
    """The public key of a collector that runs already."""
    identities: Path | None = None
    """The `identities` folder of a broker that asks devices to sign in."""
    tenant: str | None = None
    data: Path | None = None
    limit_s: float | None = None
    check_virtual: bool = False
    """Enroll the same fleet in simulated time afterwards, and compare; starts are then the scenario's alone."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where the running collector answers."""

    url: str
    token_file: Path

    @property
    def token(self) -> str:
        """What opens its API."""
        try:
            return self.token_file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            raise BadInput(
                f"--token-file {self.token_file}: can't be read; name the file DATA/token of the collector"
            ) from None


def claim(folder: Path) -> None:
    """Make the folder of a run, which has to be empty. Raises `BadInput`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        taken = any(folder.iterdir())
    except OSError as error:
        raise BadInput(f"--data {folder}: can't be made ({error.strerror}); name another") from None
    if taken:
        raise BadInput(f"--data {folder}: is not empty; name a new folder")


def tenant_of(options: LiveOptions, identities: dict[str, Identity]) -> str:
    """The tenant of a run."""
    if options.tenant is not None:
        return options.tenant
    if identities:
        return next(iter(identities.values())).tenant
    # A tenant of its own, so that nothing of another run is taken for this one's.
    return "default" if options.collector is not None else f"sim-{secrets.token_hex(4)}"


def identities_of(folder: Path | None, devices: Sequence[SimulatedDevice]) -> dict[str, Identity]:
    """How each device signs in, from the folder of a broker's identities. Raises `BadInput`."""
    if folder is None:
        return {}
    found = {}
    for device in devices:
        path = folder / "devices" / f"{device.id}.json"
        if not path.exists():
            raise BadInput(
                f"--identities {folder}: has no account for {device.id}; "
                f"make it with: esp-broker device {device.id} --dir {folder.parent}"
            )
        found[device.id] = load_identity(path)
    return found


def trusted_key(path: Path) -> TrustedKey:
    """The key of the collector's file DATA/keys/public.pem. Raises `BadInput`."""
    try:
        pem = path.read_bytes()
        key = load_pem_public_key(pem)
    except (OSError, ValueError):
        raise BadInput(
            f"--trust {path}: can't be read as a public key; name the file DATA/keys/public.pem of the collector"
        ) from None
    if not isinstance(key, Ed25519PublicKey):
        raise BadInput(f"--trust {path}: is no Ed25519 key; name the collector's")
    raw = key.public_bytes(Encoding.Raw, PublicFormat.Raw)
    return TrustedKey(kid=key_id(raw), public_key=pem.decode("ascii"))
