"""Reads what a fit is made from: reports as `esp-collector export --reports` writes them, and exports of Graph rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from agent.wire.base import DeviceId, Identifier, Seq, Wire
from agent.wire.events import Report
from simulator.fit.graph import Rows, RowsRefused, rows_of_csv, rows_of_json
from simulator.fit.history import Fact, History

JOURNAL: Final = b"SQLite format 3\0"
HEAD_BYTES: Final = 65_536

Journals = Callable[[Path], Iterable[Fact]]
"""Reads an agent's journal; a fit without one leaves journals to whoever may know the agent."""


class SourceRefused(Exception):
    """A file that can't be used: one sentence with the file and a remedy."""


class StoredReport(Wire):
    """One line of the export."""

    device: DeviceId
    stream: Identifier
    seq: Seq
    report: Report


Advance = Callable[[int], object]
"""Hears how many more bytes have been read."""


def read_sources(paths: Iterable[Path], journals: Journals, advance: Advance) -> History | Rows:
    """Read all files, which have to be of one kind: either reports and journals, or Graph rows.

    Raises:
        SourceRefused: one of them can't be used, or they do not go together.
    """
    history, rows = History(), Rows()
    for path in paths:
        try:
            _read(path, history, rows, journals, advance)
        except OSError as error:
            raise SourceRefused(f"{path}: can't be read: {error.strerror}; name another") from None
        except UnicodeDecodeError:
            raise SourceRefused(f"{path}: is no text; export it again as UTF-8") from None
        except RowsRefused as refused:
            raise SourceRefused(f"{path}: {refused}") from None
    if rows.count and history.reports:
        raise SourceRefused("reports and Graph rows do not go together; fit them one after another")
    if not rows.count and not history.reports:
        raise SourceRefused("nothing is in these files; name an export that has something")
    return rows if rows.count else history


def _read(path: Path, history: History, rows: Rows, journals: Journals, advance: Advance) -> None:
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if head.startswith(JOURNAL):
        _read_devices(history, journals(path))
        return
    text = head.decode("utf-8", errors="ignore").lstrip("\ufeff \t\r\n")
    first = text.split("\n", 1)[0]
    if text.startswith("[") or (text.startswith("{") and not _is_line(first)):
        rows.add(rows_of_json(path.read_text(encoding="utf-8-sig")))
    elif text.startswith("{"):
        _read_devices(history, _facts(path, advance))
    else:
        rows.add(rows_of_csv(path.read_text(encoding="utf-8-sig")))


def _is_line(text: str) -> bool:
    """Whether a line is a whole JSON object with a device."""
    return text.rstrip().endswith("}") and '"device"' in text


def _read_devices(history: History, facts: Iterable[Fact]) -> None:
    for _, of_one in groupby(facts, key=lambda fact: fact.device):
        history.read(of_one)


def _facts(path: Path, advance: Advance) -> Iterator[Fact]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            advance(len(line))
            if not line.strip():
                continue
            try:
                stored = StoredReport.model_validate_json(line)
            except ValidationError as error:
                first = error.errors(include_url=False)[0]
                if '"digest"' in line and '"report":{' not in line:
                    remedy = "it has digests only; export it with --reports"
                else:
                    where = ".".join(str(part) for part in first["loc"]) or "line"
                    remedy = f"{where}: {first['msg'].lower()}; export it again"
                raise SourceRefused(f"{path}: line {number} is no report: {remedy}") from None
            report = stored.report
            yield Fact(stored.device, report.attempt, report.attempt_ms, report.body)
