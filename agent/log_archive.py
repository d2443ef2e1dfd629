"""The log archive: one zip file with all that a support person needs to see why a device is stuck, and no secret."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import json
import os
import platform
import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final

from agent.runtime.ports import (
    ArchiveFailed,
    DeviceReport,
    JournalCopies,
    JournalFailed,
    JournalUnreadable,
)

SCHEMA: Final = "esp.logs/1"
MANIFEST: Final = "manifest.json"
JOURNAL: Final = "journal.sqlite3"
LOG: Final = "agent.log"
LOGS_ROTATED: Final = 3
"""How many older log files stay beside the one that is written."""
LOG_FILE_BYTES: Final = 1024 * 1024
"""A log file that reaches this becomes an older one."""
ARCHIVES_KEPT: Final = 5
"""How many archives of one device stay in the folder; older ones are removed once a new one is there."""
JOURNAL_BYTES_MAX: Final = 128 * 1024 * 1024
"""A larger journal is left out, and the manifest says so. Unpacked; it packs to about a tenth."""
LOG_BYTES_MAX: Final = 2 * LOG_FILE_BYTES
"""Of each log file its end is taken."""
MANIFEST_BYTES_MAX: Final = 64 * 1024
PATH_LENGTH_MAX: Final = 1_500
"""A longer path would not fit into the report that tells it."""
REMOVED: Final = b"[removed]"

_NO_ZIP: Final = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError)
"""What Python raises for a damaged, encrypted or strangely packed file."""
_CHUNK_BYTES: Final = 1024 * 1024
_ABOUT: Final = (
    "Logs of one device, collected by esp-agent. journal.sqlite3 has every input of the enrollment and the reports that "
    "are still kept: `esp-agent replay ARCHIVE.zip` tells it. No password and no key is in here; names of people are."
)


class ZipLogArchive:
    """Writes archives into one folder, for one device or for a fleet that shares a journal.

    Args:
        settings: what the agent was started with; JSON values, nothing secret.
        log_file: the agent's own log; its rotated predecessors are found beside it. None when there is none.
        secrets: values that are cut out of the log, should one ever have got into it.
    """

    def __init__(
        self,
        folder: Path,
        journal: JournalCopies,
        *,
        settings: Mapping[str, object],
        log_file: Path | None = None,
        secrets: Sequence[str] = (),
    ) -> None:
        self._folder = folder.absolute()
        self._journal = journal
        self._settings = settings
        self._log_file = log_file
        self._secrets = _written_forms(secrets)

    async def write(self, report: DeviceReport) -> str:
        """See `LogArchive.write`."""
        shown = os.fsencode(self._folder).decode("utf-8", "replace")
        if len(shown) > PATH_LENGTH_MAX:
            raise ArchiveFailed(
                "the path of the folder for log archives is too long; name a shorter one with --logs"
            )
        try:
            path = await self._write(report)
        except OSError as error:
            raise _failed(shown, error.strerror or str(error)) from error
        except JournalFailed as error:
            raise _failed(shown, f"the journal can't be copied: {error}") from error
        return os.fsencode(path).decode("utf-8", "replace")

    async def _write(self, report: DeviceReport) -> Path:
        device = report.facts.device
        work = await asyncio.to_thread(_make_room, self._folder, device)
        try:
            await self._journal.copy_device(device, str(work / JOURNAL))
            return await asyncio.to_thread(self._pack, work, report)
        finally:
            await asyncio.to_thread(shutil.rmtree, work, ignore_errors=True)

    def _pack(self, work: Path, report: DeviceReport) -> Path:
        """Write the archive beside its parts, then give it its name: it is there as a whole or not at all."""
        device, written = report.facts.device, _time_of(report.wall_ms)
        unfinished = work / "archive.zip"
        with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED) as opened:
            parts = _Parts(opened, written)
            self._add_journal(parts, work / JOURNAL)
            self._add_log(parts)
            parts.add("facts.json", "the device and the agent", _json(self._facts(report)))
            progress = report.progress.model_dump(mode="json", exclude_none=True)
            parts.add("progress.json", "what the screen showed", _json(progress))
            parts.finish(device, report.progress.attempt)
        unfinished.chmod(0o600)
        _flush(unfinished)
        path = _free_name(self._folder / f"{device}-{written:%Y%m%dT%H%M%SZ}.zip")
        unfinished.replace(path)
        _flush(self._folder)
        _remove_old(self._folder, device, path)
        return path

    def _add_journal(self, parts: _Parts, copy: Path) -> None:
        size = copy.stat().st_size
        if size > JOURNAL_BYTES_MAX:
            parts.leave_out(JOURNAL, f"it has {size} bytes, more than {JOURNAL_BYTES_MAX}")
            return
        with copy.open("rb") as content:
            parts.add_stream(JOURNAL, "every input and every report that is still kept", content)

    def _add_log(self, parts: _Parts) -> None:
        """Add the log and what was rotated out of it."""
        if self._log_file is None:
            parts.leave_out(LOG, "this device shares its process and has no log of its own")
            return
        for number in ("", *(f".{n}" for n in range(1, LOGS_ROTATED + 1))):
            # While the agent runs its log may be rotated at any moment.
            with contextlib.suppress(FileNotFoundError):
                content = self._log(self._log_file.with_name(self._log_file.name + number))
                parts.add(LOG + number, "the agent's log, one JSON object a line", content)

    def _log(self, path: Path) -> bytes:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - LOG_BYTES_MAX))
            content = log.read(LOG_BYTES_MAX)
        for secret in self._secrets:
            content = content.replace(secret, REMOVED)
        return content

    def _facts(self, report: DeviceReport) -> dict[str, Any]:
        return {
            "device": dataclasses.asdict(report.facts),
            "agent": {
                "version": report.facts.agent_version,
                "python": platform.python_version(),
                "system": platform.platform(),
            },
            "settings": dict(self._settings),
            "asked_by_command": report.command,
            "running_ms": report.at_ms,
            "wall_ms": report.wall_ms,
            "link": dict(report.link),
            "outbox": dict(report.outbox),
            "reporting": report.reporting.model_dump(mode="json", exclude_none=True),
            "refused_messages": dict(report.refused),
        }


@dataclass
class _Parts:
    """The parts of an archive that is being written, and what the manifest will say of them."""

    archive: zipfile.ZipFile
    written: datetime
    files: list[dict[str, object]] = dataclasses.field(default_factory=list)
    left_out: list[dict[str, str]] = dataclasses.field(default_factory=list)

    def add(self, name: str, about: str, content: bytes) -> None:
        self.archive.writestr(self._entry(name), content)
        self._note(name, about, len(content), hashlib.sha256(content).hexdigest())

    def add_stream(self, name: str, about: str, content: BinaryIO) -> None:
        digest, size = hashlib.sha256(), 0
        with self.archive.open(self._entry(name), "w") as part:
            while chunk := content.read(_CHUNK_BYTES):
                part.write(chunk)
                digest.update(chunk)
                size += len(chunk)
        self._note(name, about, size, digest.hexdigest())

    def leave_out(self, name: str, reason: str) -> None:
        self.left_out.append({"name": name, "reason": reason})

    def finish(self, device: str, attempt: str) -> None:
        """Add the manifest, the last part: an archive that has it is whole."""
        manifest = {
            "schema": SCHEMA,
            "about": _ABOUT,
            "device": device,
            "attempt": attempt,
            "written_at": self.written.isoformat(),
            "files": self.files,
            "left_out": self.left_out,
        }
        self.archive.writestr(self._entry(MANIFEST), _json(manifest))

    def _entry(self, name: str) -> zipfile.ZipInfo:
        entry = zipfile.ZipInfo(name)
        # The format knows the years 1980 to 2107 only, and a device's clock may stand anywhere.
        if 1980 <= self.written.year <= 2107:
            w = self.written
            entry.date_time = (w.year, w.month, w.day, w.hour, w.minute, w.second)
        entry.compress_type = zipfile.ZIP_DEFLATED
        entry.external_attr = 0o600 << 16
        return entry

    def _note(self, name: str, about: str, size: int, digest: str) -> None:
        self.files.append({"name": name, "about": about, "bytes": size, "sha256": digest})


@contextlib.contextmanager
def journal_in(path: Path) -> Iterator[Path]:
    """The journal to read: the file itself, or the one in a log archive, unpacked for as long as the block runs.

    Raises:
        JournalUnreadable: the archive is damaged, foreign or has no journal; names the file and the remedy.
    """
    if not _looks_like_archive(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="esp-agent-") as folder:
        journal = Path(folder) / JOURNAL
        try:
            _unpack(path, journal)
        except _NO_ZIP as error:
            raise _damaged(path, str(error) or type(error).__name__) from error
        except OSError as error:
            raise JournalUnreadable(
                f"{path}: cannot be unpacked ({error.strerror}); check the file and the room in {folder}"
            ) from error
        try:
            yield journal
        except JournalUnreadable as error:
            # The file that the reader knows is the archive.
            told = str(error).replace(str(journal), f"{path}, {JOURNAL}")
            raise JournalUnreadable(told) from error


def _looks_like_archive(path: Path) -> bool:
    if not path.is_file():
        return False
    with contextlib.suppress(OSError), path.open("rb") as file:
        return path.suffix.lower() == ".zip" or file.read(4) == b"PK\x03\x04"
    return False


def _unpack(path: Path, journal: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        expected = _digest_of_journal(path, archive)
        if archive.getinfo(JOURNAL).file_size > JOURNAL_BYTES_MAX:
            raise _damaged(path, "its journal is larger than any that an agent packs")
        digest = hashlib.sha256()
        with archive.open(JOURNAL) as packed, journal.open("wb") as unpacked:
            while chunk := packed.read(_CHUNK_BYTES):
                digest.update(chunk)
                unpacked.write(chunk)
    if digest.hexdigest() != expected:
        raise _damaged(path, "its journal is not the one that the manifest names")


def _digest_of_journal(path: Path, archive: zipfile.ZipFile) -> str:
    """What the manifest says of the journal. Raises `JournalUnreadable`."""
    names = set(archive.namelist())
    if MANIFEST not in names or archive.getinfo(MANIFEST).file_size > MANIFEST_BYTES_MAX:
        raise _damaged(path, f"it has no {MANIFEST}")
    try:
        manifest = json.loads(archive.read(MANIFEST))
        schema = manifest["schema"]
        digests = {file["name"]: file["sha256"] for file in manifest["files"]}
        left_out = {part["name"]: part["reason"] for part in manifest["left_out"]}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(path, f"its {MANIFEST} can't be read") from error
    if schema != SCHEMA:
        raise JournalUnreadable(
            f"{path}: a log archive of another agent (schema {schema}, this one reads {SCHEMA}); use that agent"
        )
    if JOURNAL in left_out:
        raise JournalUnreadable(
            f"{path}: has no journal ({left_out[JOURNAL]}); name the journal on the device itself"
        )
    if JOURNAL not in digests or JOURNAL not in names:
        raise _damaged(path, f"it has no {JOURNAL}")
    return str(digests[JOURNAL])


def _damaged(path: Path, reason: str) -> JournalUnreadable:
    return JournalUnreadable(
        f"{path}: no log archive, or a damaged one ({reason}); copy it from the device again"
    )


def _failed(folder: str, reason: str) -> ArchiveFailed:
    return ArchiveFailed(
        f"the log archive can't be written to {folder} ({reason}); "
        "make room there or name another folder with --logs, then collect the logs again"
    )


def _make_room(folder: Path, device: str) -> Path:
    """A new folder to work in, and none that a power cut left behind."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    unfinished = re.compile(rf"\.{re.escape(device)}\.[a-z0-9_]{{8}}\.part")
    for old in folder.iterdir():
        if unfinished.fullmatch(old.name):
            shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f".{device}.", suffix=".part", dir=folder))


def _remove_old(folder: Path, device: str, newest: Path) -> None:
    """Keep the newest archives of a device; whatever the clock says, the one just written is one of them."""
    named = re.compile(rf"{re.escape(device)}-(\d{{8}}T\d{{6}}Z)(?:-(\d+))?\.zip")
    found: list[tuple[str, int, Path]] = []
    for path in folder.iterdir():
        match = named.fullmatch(path.name)
        if match is not None and path != newest:
            found.append((match[1], int(match[2] or 1), path))
    for _, _, path in sorted(found, reverse=True)[ARCHIVES_KEPT - 1 :]:
        path.unlink(missing_ok=True)


def _free_name(path: Path) -> Path:
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.stem}-{number}.zip")
    return free


def _written_forms(secrets: Sequence[str]) -> list[bytes]:
    """Each secret as it is, and as JSON and a traceback would write it; the longest first."""
    forms: set[str] = set()
    for secret in filter(None, secrets):
        as_json = (json.dumps(secret), json.dumps(secret, ensure_ascii=False))
        forms |= {secret, repr(secret)[1:-1], *(text[1:-1] for text in as_json)}
    return sorted((form.encode() for form in forms), key=len, reverse=True)


def _time_of(wall_ms: int) -> datetime:
    return datetime.fromtimestamp(wall_ms / 1000, UTC)


def _json(content: object) -> bytes:
    return json.dumps(content, indent=1, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def _flush(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk."""
    if os.name == "nt" and path.is_dir():
        return  # Windows opens no folders.
    handle = os.open(path, os.O_RDWR if path.is_file() else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
