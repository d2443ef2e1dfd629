"""The enrollment status page as plain text, for terminals and mails."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from collector import page

NOTHING = "-"


def status_page(
    status: page.EnrollmentStatus,
    active: page.ActiveEnrollments,
    failures: page.EnrollmentFailures,
    profiles: page.ProfileList,
) -> str:
    """The whole page."""
    figures = status.overview
    sections = [
        (
            "Enrollment Overview",
            [
                f"{figures.enrolled:>8,} Enrolled     (Successfully managed)",
                f"{figures.in_progress:>8,} In Progress  (Currently enrolling)",
                f"{figures.pending:>8,} Pending      (Waiting to start)",
                f"{figures.failed:>8,} Failed       (Needs attention)",
            ],
        ),
        ("Active Enrollments", _active(active)),
        ("Enrollment by Platform", _platforms(status)),
        ("Recent Failures", _recent(failures)),
        (f"Common Failure Reasons (last {failures.window_days} days)", _reasons(failures)),
        ("ESP Profiles", profile_lines(profiles)),
    ]
    return "\n\n".join("\n".join([title, *lines]) for title, lines in sections) + "\n"


def _active(active: page.ActiveEnrollments) -> list[str]:
    rows = [
        (
            row.device,
            row.user or NOTHING,
            row.platform,
            f"{row.stage.value}{' (silent)' if row.silent else ''}",
            f"{row.progress_percent}%",
        )
        for row in active.devices
    ]
    return table(("Device", "User", "Platform", "Stage", "Progress"), rows)


def _platforms(status: page.EnrollmentStatus) -> list[str]:
    rows = [
        (
            row.platform,
            f"{row.total:,}",
            str(row.last_7_days),
            percent(row.success_rate_percent),
            minutes(row.average_minutes),
        )
        for row in status.platforms
    ]
    return table(("Platform", "Total", "Last 7 Days", "Success Rate", "Avg Time"), rows)


def _recent(failures: page.EnrollmentFailures) -> list[str]:
    return [
        f"  {row.device} ({', '.join(filter(None, (row.platform, row.user, row.age)))}) - "
        f"Error {row.code}: {row.text}"
        for row in failures.recent
    ] or ["  none"]


def _reasons(failures: page.EnrollmentFailures) -> list[str]:
    return [f"  {row.reason} - {row.count}" for row in failures.common_reasons] or ["  none"]


def profile_lines(profiles: page.ProfileList) -> list[str]:
    """The ESP profiles as a table."""
    rows = [
        (
            row.name,
            f"{row.blocking_apps}{' (all)' if row.blocks_on_all else ''}",
            f"{row.timeout_minutes} min",
            ", ".join(row.assigned_groups) or NOTHING,
            f"{row.status}{', default' if row.default else ''}",
        )
        for row in profiles.profiles
    ]
    return table(("Profile", "Blocking Apps", "Timeout", "Assigned Groups", "Status"), rows)


def percent(value: float | None) -> str:
    """A rate as the page prints it."""
    return NOTHING if value is None else f"{value:.1f}%"


def minutes(value: float | None) -> str:
    """A mean time as the page prints it."""
    return NOTHING if value is None else f"{value:.0f} min"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Columns under their heads; `none` when there are no rows."""
    lines = [tuple(heads), *(tuple(row) for row in rows)]
    if len(lines) == 1:
        return ["  none"]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    return [
        "  "
        + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
