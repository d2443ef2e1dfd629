"""What people hand the agent, files, addresses and names: checked here once, and refused in one sentence."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from agent.mqtt_transport import BrokerAddress
from agent.signatures import IdentityRefused, read_account, read_identity
from agent.wire.assignment import Admitted, Assignment, Refused
from agent.wire.base import DeviceId
from agent.wire.identity import Identity, ServiceIdentity
from agent.wire.profile import EspProfile

FILE_BYTES_MAX: Final = 4 * 1024 * 1024

_DEVICE: TypeAdapter[str] = TypeAdapter(DeviceId)
_Model = TypeVar("_Model", bound=BaseModel)


class BadInput(Exception):
    """Something that was given can't be used: one sentence with file, key and remedy."""


def parse_broker(url: str) -> BrokerAddress:
    """A broker's address. Raises `BadInput`."""
    try:
        return BrokerAddress.parse(url)
    except ValueError as error:
        raise BadInput(f"--broker: {error}") from None


def load_identity(path: Path) -> Identity:
    """An identity file. Raises `BadInput`."""
    try:
        return read_identity(path)
    except IdentityRefused as error:
        raise BadInput(str(error)) from None


def load_watching_account(path: Path) -> Identity | ServiceIdentity:
    """The identity file of somebody who may look at devices.

    Raises:
        BadInput: it can't be used, or is the account of a device, for which the broker's rules keep all screens back.
    """
    try:
        account = read_account(path)
    except IdentityRefused as error:
        raise BadInput(str(error)) from None
    if isinstance(account, Identity) and (account.username or account.certificate_file):
        raise BadInput(
            f"{path}: this is the account of the device '{account.device}', and devices may not read screens; "
            "name the help desk's file, which `esp-broker init` wrote as identities/help-desk.json"
        )
    return account


def check_device(device: str) -> str:
    """A device id. Raises `BadInput`."""
    try:
        return _DEVICE.validate_python(device)
    except ValidationError:
        raise BadInput(
            f"--device '{device[:80]}': no device id; use at most 64 letters, digits, dots, hyphens and "
            "underscores, beginning and ending with a letter or digit"
        ) from None


@dataclass(frozen=True, slots=True)
class LocalAssignment:
    """An assignment from a file: the decision, and the device it names, if it names one."""

    decision: Admitted | Refused
    device: str | None


def load_assignment(path: Path) -> LocalAssignment:
    """Read an `Assignment`, or just its `decision`, from a JSON file.

    Raises:
        BadInput: one sentence with file, key and remedy.
    """
    content = _read_json(path, "assignment")
    if "decision" in content:
        whole = _validated(Assignment, content, path)
        return LocalAssignment(whole.decision, whole.device)
    if content.get("outcome") == "refused":
        return LocalAssignment(_validated(Refused, content, path), None)
    return LocalAssignment(_validated(Admitted, content, path), None)


def load_profile(path: Path) -> EspProfile:
    """Read an ESP profile from a JSON file. Raises `BadInput`."""
    return _validated(EspProfile, _read_json(path, "profile"), path)


def _read_json(path: Path, what: str) -> dict[str, Any]:
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise BadInput(f"{path}: larger than {FILE_BYTES_MAX} bytes; name an {what} file")
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise BadInput(
            f"{path}: cannot be read ({error.strerror}); name a JSON file with the {what}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path}: not JSON ({error}); correct it there") from None
    if not isinstance(content, dict):
        raise BadInput(
            f"{path}: holds a {type(content).__name__}; put the {what} as one JSON object"
        )
    return content


def _validated(model: type[_Model], content: dict[str, Any], path: Path) -> _Model:
    try:
        # As JSON again, because JSON input may be a list where Python input has to be a tuple.
        return model.model_validate_json(json.dumps(content), extra="forbid")
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise BadInput(f"{path}: {_sentence(model, first)}") from None


def _sentence(model: type[BaseModel], error: Any) -> str:
    # The name of a union's member is in the location, though it is no key of the file.
    keys = [str(part) for part in error["loc"] if part not in ("admitted", "refused")]
    where = ".".join(keys) or "the file"
    if error["type"] == "extra_forbidden":
        known = ", ".join(sorted(f.alias or n for n, f in model.model_fields.items()))
        hint = f"; known here: {known}" if len(keys) == 1 else ""
        return f"{where}: no such key; remove it or correct its name{hint}"
    if error["type"] == "missing":
        return f"{where}: is missing; add it"
    message = error["msg"].removeprefix("Value error, ")
    return f"{where}: {message}; correct it there"
