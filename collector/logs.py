"""What the collector says while it runs: one event a line, as JSON for programs or as text for people."""

from __future__ import annotations

import logging
import sys
from enum import StrEnum
from typing import Any

import structlog


class LogFormat(StrEnum):
    """How a line is written."""

    AUTO = "auto"
    """Text on a terminal, JSON elsewhere."""
    JSON = "json"
    TEXT = "text"


class LevelUnknown(Exception):
    """There is no such level: one sentence with the remedy."""


def configure_logs(level: str, log_format: LogFormat) -> None:
    """Everything of this level and above goes to stderr. Raises `LevelUnknown`."""
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise LevelUnknown(f"--log-level '{level}' is none; use debug, info, warning or error")
    people = log_format is LogFormat.TEXT or (log_format is LogFormat.AUTO and sys.stderr.isatty())
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        if people
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
    logging.basicConfig(level=max(number, logging.WARNING), stream=sys.stderr)
