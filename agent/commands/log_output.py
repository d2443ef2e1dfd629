"""Where logs go: to the terminal, unless the screen has it, and to a file that a log archive takes."""

from __future__ import annotations

import logging
import os
import sys
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any


def log_to(level: str, *, file: Path | None = None, on_stderr: bool = True) -> None:
    """Structured logs: on stderr, unless the screen has the terminal, and in a file that a log archive takes.

    Raises `BadInput` when the file can't be written.
    """
    known = logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
    handlers: list[logging.Handler] = []
    if on_stderr:
        handlers.append(_on_stderr(known))
    if file is not None:
        handlers.append(in_file(file))
    logging.basicConfig(level=known, handlers=handlers, force=True)


def _on_stderr(level: int) -> logging.Handler:
    """Warnings beside the progress lines; everything when somebody asks for DEBUG."""
    import structlog

    handler = logging.StreamHandler()
    handler.setLevel(level if level < logging.INFO else max(level, logging.WARNING))
    handler.setFormatter(_formatter(structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())))
    return handler


class _LogFile(RotatingFileHandler):
    """A log file whose disk may be full: lines are lost then, and the page or the terminal stays as it is."""

    def _open(self) -> TextIOWrapper:
        """Open it for its owner alone, as every file of the journal is; also after a rotation."""
        return open(
            self.baseFilename,
            "a",
            encoding=self.encoding,
            opener=lambda path, flags: os.open(path, flags, 0o600),
        )

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the library's name
        """Lose the line; that the disk is full is told by the journal."""
        del record


def in_file(path: Path) -> logging.Handler:
    """A log that survives a restart and never takes more room than stated."""
    import structlog

    from agent.given import BadInput
    from agent.log_archive import LOG_FILE_BYTES, LOGS_ROTATED

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = _LogFile(
            path, maxBytes=LOG_FILE_BYTES, backupCount=LOGS_ROTATED, encoding="utf-8"
        )
    except OSError as error:
        raise BadInput(
            f"{path}: the log can't be written there ({error.strerror}); name another --state-dir"
        ) from error
    handler.setFormatter(
        _formatter(
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        )
    )
    return handler


def _formatter(*last: Any) -> logging.Formatter:
    import structlog

    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.processors.TimeStamper(fmt="iso"),
        ],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
    )
