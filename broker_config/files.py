"""Files of a broker's directory: put in place whole, readable by their owner only, under one lock."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from broker_config.problems import BrokerProblem

M = TypeVar("M", bound=BaseModel)


def write(path: Path, content: str) -> None:
    """Put a file in place whole, mode 0600; a reader sees the old content or the new."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def make_file(path: Path, content: str) -> list[Path]:
    """Write a file that is not there, and say what was made."""
    if path.exists():
        return []
    write(path, content)
    return [path]


def make_folder(path: Path) -> list[Path]:
    """Make a folder of mode 0700 that is not there, and say what was made."""
    if path.is_dir():
        return []
    path.mkdir(mode=0o700)
    return [path]


def read(model: type[M], path: Path) -> M:
    """A model from its file. Raises `BrokerProblem` with file, key and remedy."""
    try:
        return model.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise BrokerProblem(f"{path}: {first_sentence(error)}; restore the file") from None


def as_json(model: BaseModel) -> str:
    """A model as a file has it."""
    return model.model_dump_json(indent=2, by_alias=True, exclude_none=True) + "\n"


def first_sentence(error: ValidationError) -> str:
    """The first thing that is wrong, with its key."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    text = first["msg"].removeprefix("Value error, ")
    return f"{where}: {text}" if where else text


def check_private(path: Path) -> None:
    """Raises `BrokerProblem` when others than the owner may read or change a file with a private key."""
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        raise BrokerProblem(
            f"{path} has mode {mode:04o}, so other accounts can use this key; "
            f"take their rights away with: chmod 600 {path}"
        )


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Two commands at once must not lose each other's changes."""
    with (directory / ".lock").open("a") as lock:
        os.fchmod(lock.fileno(), 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def operating_failures(directory: Path) -> Iterator[None]:
    """What the disk refuses, as a `BrokerProblem`."""
    try:
        yield
    except OSError as error:
        raise BrokerProblem(
            f"cannot write {error.filename or directory}: {error.strerror}; "
            "name a directory that this account may write"
        ) from error
