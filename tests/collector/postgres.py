"""A PostgreSQL server for the tests: started by them, in a folder of its own, reached by a socket in that folder."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import psycopg

REASON = "no PostgreSQL server is installed (/usr/lib/postgresql/*/bin); .ci/run installs it"

KEPT = 16
"""More databases than one test makes."""

_INITDB = ("-U", "esp", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")


def binaries() -> Path | None:
    """The folder of the newest server that is installed; None when there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if found:
        return found[-1].parent
    on_path = shutil.which("postgres")
    return None if on_path is None else Path(on_path).parent


@dataclass
class Server:
    """A running server."""

    folder: Path
    process: subprocess.Popen[bytes]
    numbers: Iterator[int] = field(default_factory=count)

    def url(self, name: str) -> str:
        """The URL of a database, as `--database` takes it."""
        return f"postgresql+psycopg://esp@/{name}?host={self.folder}"

    def fresh(self, template: str = "template1") -> str:
        """The URL of a new database; the newest few are kept, so that the server's end is quick."""
        number = next(self.numbers)
        name = f"t{number}"
        with psycopg.connect(self._conninfo("postgres"), autocommit=True) as connection:
            if number >= KEPT:
                connection.execute(f"DROP DATABASE t{number - KEPT} WITH (FORCE)".encode())
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
        return self.url(name)

    def _conninfo(self, name: str) -> str:
        return f"host={self.folder} user=esp dbname={name}"


@contextmanager
def running_server(bin_folder: Path, *options: str) -> Iterator[Server]:
    """A server until the context ends; `options` are settings such as `fsync=off`."""
    folder = Path(tempfile.mkdtemp(prefix="esp-pg-"))
    # PostgreSQL refuses to run as root, so its package's account does.
    account = pwd.getpwnam("postgres") if os.geteuid() == 0 else None
    who = {} if account is None else {"user": account.pw_uid, "group": account.pw_gid}
    if account is not None:
        os.chown(folder, account.pw_uid, account.pw_gid)
    data = folder / "data"
    try:
        subprocess.run(
            [bin_folder / "initdb", "-D", data, *_INITDB],
            check=True,
            capture_output=True,
            cwd=folder,
            **who,  # type: ignore[call-overload]
        )
        settings = ["listen_addresses=", f"unix_socket_directories={folder}", *options]
        process = subprocess.Popen(
            [bin_folder / "postgres", "-D", data, *(w for s in settings for w in ("-c", s))],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            **who,  # type: ignore[call-overload]
        )
        try:
            server = Server(folder, process)
            _wait_until_ready(bin_folder, folder, process)
            yield server
        finally:
            # The quick end: it ends the sessions that are still there.
            process.send_signal(signal.SIGINT)
            process.wait(timeout=30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait_until_ready(bin_folder: Path, folder: Path, process: subprocess.Popen[bytes]) -> None:
    deadline_s = time.monotonic() + 60
    while time.monotonic() < deadline_s:
        asked = subprocess.run(
            [bin_folder / "pg_isready", "-h", folder, "-t", "5"], check=False, capture_output=True
        )
        if asked.returncode == 0:
            return
        assert process.poll() is None, "the server ended at once"
    raise AssertionError("the server did not get ready")
