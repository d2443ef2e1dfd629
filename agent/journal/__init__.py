"""The journal: inputs, outbox and executed commands in SQLite, durable before anything is done about them.

One file holds one device or a whole fleet. One thread writes it; what many devices hand in at the same time goes into
one transaction, and each is told once that is on the disk.
"""

from agent.journal.reading import (
    JournalReader,
    ReadInputs,
    ReportRow,
    devices_of,
    iterate_entries,
    iterate_reports,
    read_journal,
)
from agent.journal.writer import SqliteJournal, open_journal, set_aside

__all__ = [
    "JournalReader",
    "ReadInputs",
    "ReportRow",
    "SqliteJournal",
    "devices_of",
    "iterate_entries",
    "iterate_reports",
    "open_journal",
    "read_journal",
    "set_aside",
]
