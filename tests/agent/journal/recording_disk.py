"""A disk that writes down what SQLite writes to it and when it asks for that to last, so that a test can cut the power anywhere.

SQLite's own interface for this is a VFS (https://sqlite.org/vfs.html). The one here passes everything on to the
system's and keeps a record of writes, truncations, syncs and deletions.
"""

from __future__ import annotations

import _sqlite3
import contextlib
import ctypes
import random
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_FILE = ctypes.c_void_p
_WRITE = ctypes.CFUNCTYPE(ctypes.c_int, _FILE, ctypes.c_void_p, ctypes.c_int, ctypes.c_int64)
_TRUNCATE = ctypes.CFUNCTYPE(ctypes.c_int, _FILE, ctypes.c_int64)
_SYNC = ctypes.CFUNCTYPE(ctypes.c_int, _FILE, ctypes.c_int)
_OPEN = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p
)
_DELETE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int)


class _Methods(ctypes.Structure):
    """`sqlite3_io_methods`, version 3."""

    _fields_ = [
        ("iVersion", ctypes.c_int),
        ("xClose", ctypes.c_void_p),
        ("xRead", ctypes.c_void_p),
        ("xWrite", ctypes.c_void_p),
        ("xTruncate", ctypes.c_void_p),
        ("xSync", ctypes.c_void_p),
        *[(f"other{n}", ctypes.c_void_p) for n in range(13)],
    ]


class _Vfs(ctypes.Structure):
    """`sqlite3_vfs`, version 3."""

    _fields_ = [
        ("iVersion", ctypes.c_int),
        ("szOsFile", ctypes.c_int),
        ("mxPathname", ctypes.c_int),
        ("pNext", ctypes.c_void_p),
        ("zName", ctypes.c_char_p),
        ("pAppData", ctypes.c_void_p),
        ("xOpen", ctypes.c_void_p),
        ("xDelete", ctypes.c_void_p),
        *[(f"other{n}", ctypes.c_void_p) for n in range(14)],
    ]


@dataclass(frozen=True, slots=True)
class Done:
    """One thing that was asked of the disk, or `mark`: what a test noted at this moment."""

    what: str
    file: str = ""
    at: int = 0
    content: bytes = b""
    mark: int = 0


@dataclass
class Record:
    """All that was asked of the disk, in order."""

    done: list[Done] = field(default_factory=list)
    is_full: bool = False
    """While it is, nothing can be written."""

    def mark(self, number: int) -> None:
        """Note that everything up to a number was promised to last."""
        self.done.append(Done("mark", mark=number))

    def promised(self, cut: int) -> int:
        """What was promised before a power cut at this place of the record."""
        return max((d.mark for d in self.done[:cut] if d.what == "mark"), default=0)

    def left(self, cut: int, survives: Callable[[Done], Done | None]) -> dict[str, bytes]:
        """The files after a power cut: what was synced, and of the rest what survives, whole or in part."""
        files: dict[str, bytearray] = {}
        for place, done in enumerate(self.done[:cut]):
            kept: Done | None = done
            if done.what in ("write", "truncate") and not self._is_synced(place, cut):
                kept = survives(done)
            if kept is not None:
                _apply(files, kept)
        return {name: bytes(content) for name, content in files.items()}

    def _is_synced(self, place: int, cut: int) -> bool:
        file = self.done[place].file
        return any(d.what in ("sync", "delete") and d.file == file for d in self.done[place:cut])


def _apply(files: dict[str, bytearray], done: Done) -> None:
    match done.what:
        case "write":
            file = files.setdefault(done.file, bytearray())
            file.extend(bytes(max(0, done.at - len(file))))
            file[done.at : done.at + len(done.content)] = done.content
        case "truncate":
            del files.setdefault(done.file, bytearray())[done.at :]
        case "delete":
            files.pop(done.file, None)
        case _:
            pass


def nothing(_: Done) -> Done | None:
    """The disk had not begun with what was not synced."""
    return None


def everything(done: Done) -> Done | None:
    """The disk was quick."""
    return done


def some(seed: int) -> Callable[[Done], Done | None]:
    """The disk wrote in an order of its own, and one write in five in part."""
    draw = random.Random(seed)

    def survives(done: Done) -> Done | None:
        if draw.random() < 0.5:
            return None
        if draw.random() < 0.2:
            return Done(done.what, done.file, done.at, done.content[: len(done.content) // 2])
        return done

    return survives


@contextlib.contextmanager
def recorded() -> Iterator[Record]:
    """Record what every connection does that is opened meanwhile. Raises `OSError` where SQLite can't be reached."""
    recorder = _Recorder(_library())
    recorder.install()
    try:
        yield recorder.record
    finally:
        recorder.remove()


def _library() -> Any:
    library = ctypes.CDLL(_sqlite3.__file__)
    try:
        library.sqlite3_vfs_find.restype = ctypes.POINTER(_Vfs)
    except AttributeError as error:
        raise OSError("this Python hides the functions of its SQLite") from error
    library.sqlite3_vfs_find.argtypes = [ctypes.c_char_p]
    library.sqlite3_vfs_register.argtypes = [ctypes.c_void_p, ctypes.c_int]
    library.sqlite3_vfs_unregister.argtypes = [ctypes.c_void_p]
    return library


class _Recorder:
    """The VFS: SQLite calls it from the thread that works with a connection."""

    def __init__(self, library: Any) -> None:
        self.record = Record()
        self._library = library
        self._system = library.sqlite3_vfs_find(None).contents
        self._vfs = _Vfs.from_buffer_copy(self._system)
        self._open = _OPEN(self._opened)
        self._delete = _DELETE(self._deleted)
        self._vfs.zName = b"recording"
        self._vfs.xOpen = ctypes.cast(self._open, ctypes.c_void_p)
        self._vfs.xDelete = ctypes.cast(self._delete, ctypes.c_void_p)
        self._names: dict[int, str] = {}
        self._patched: dict[int, tuple[_Methods, Sequence[Any]]] = {}

    def install(self) -> None:
        self._library.sqlite3_vfs_register(ctypes.byref(self._vfs), 1)

    def remove(self) -> None:
        self._library.sqlite3_vfs_unregister(ctypes.byref(self._vfs))
        self._library.sqlite3_vfs_register(ctypes.byref(self._system), 1)

    def _opened(self, vfs: int, name: int | None, file: int, flags: int, out: int) -> int:
        # The name is passed on as the address that it has: SQLite looks there again later.
        code = int(_OPEN(self._system.xOpen)(vfs, name, file, flags, out))
        methods = ctypes.cast(file, ctypes.POINTER(ctypes.c_void_p))
        if code == 0 and name is not None and methods[0]:
            self._names[file] = _name_at(name)
            methods[0] = ctypes.addressof(self._patch(methods[0]))
        return code

    def _deleted(self, vfs: int, name: int, sync_folder: int) -> int:
        self._note(Done("delete", _name_at(name)))
        return int(_DELETE(self._system.xDelete)(vfs, name, sync_folder))

    def _patch(self, address: int) -> _Methods:
        if address not in self._patched:
            own = _Methods.from_address(address)
            patched = _Methods.from_buffer_copy(own)
            write, truncate, sync = _WRITE(own.xWrite), _TRUNCATE(own.xTruncate), _SYNC(own.xSync)

            def on_write(file: int, content: int, size: int, at: int) -> int:
                if self.record.is_full:
                    return sqlite3.SQLITE_FULL
                self._note(Done("write", self._names[file], at, ctypes.string_at(content, size)))
                return int(write(file, content, size, at))

            def on_truncate(file: int, size: int) -> int:
                self._note(Done("truncate", self._names[file], size))
                return int(truncate(file, size))

            def on_sync(file: int, flags: int) -> int:
                code = int(sync(file, flags))
                self._note(Done("sync", self._names[file]))
                return code

            calls = (_WRITE(on_write), _TRUNCATE(on_truncate), _SYNC(on_sync))
            patched.xWrite, patched.xTruncate, patched.xSync = (
                ctypes.cast(call, ctypes.c_void_p).value for call in calls
            )
            # SQLite calls these as long as the file is open, so they have to live as long.
            self._patched[address] = (patched, calls)
        return self._patched[address][0]

    def _note(self, done: Done) -> None:
        self.record.done.append(done)


def _name_at(address: int) -> str:
    return Path(ctypes.string_at(address).decode()).name
