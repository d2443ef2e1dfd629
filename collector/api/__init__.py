"""The HTTP interface: the enrollment status page, its profiles, reports, devices, registrations and commands."""

from __future__ import annotations

from collector.api.app import make_app
from collector.api.services import Services
from collector.api.stored_reports import report_lines, stored_lines

__all__ = ["Services", "make_app", "report_lines", "stored_lines"]
