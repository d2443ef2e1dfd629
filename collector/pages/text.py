"""The enrollment status page as plain text, for terminals and mails."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from agent.core.explanation import columns, explanation_lines, wrapped
from collector.pages import page
from collector.pages.incomplete_page import IncompleteEnrollments

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
        *(
            (f"Enrollment Status Page ({row.name})", settings_lines(row))
            for row in _default(profiles)
        ),
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
    return [
        *table(("Device", "User", "Platform", "Stage", "Progress"), rows),
        *_more(active.total - len(rows)),
    ]


def _more(count: int) -> list[str]:
    return [f"  and {count:,} more"] if count > 0 else []


def _default(profiles: page.ProfileList) -> list[page.ProfileRow]:
    return [row for row in profiles.profiles if row.default]


def settings_lines(row: page.ProfileRow) -> list[str]:
    """Every setting of the page, as one profile has it."""
    settings = row.settings
    device, account, errors = (
        settings.device_setup,
        settings.account_setup,
        settings.error_handling,
    )
    return [
        "  Device Setup Phase",
        _switch("Show app and profile installation progress", device.show_progress),
        _switch("Block device use until required apps installed", device.block_until_complete),
        f"    Timeout (minutes): {settings.timeout_minutes}",
        "  User Account Setup Phase",
        _switch("Show account setup progress", account.show_progress),
        _switch("Block device use until complete", account.block_until_complete),
        _switch("Allow user to skip", account.allow_skip),
        "  Blocking Apps",
        *(
            f"    {app.name} - {'Required' if app.required else 'not required of any device'}"
            for app in row.apps
        ),
        *([] if row.apps else ["    none"]),
        "  Error Handling",
        _switch("Show error details to user", errors.show_details),
        _switch("Allow retry on installation failure", errors.allow_retry),
        _switch("Allow device reset on failure", errors.allow_reset),
        _switch("Allow use of the device after a failure", errors.allow_continue),
        _switch("Allow log collection", errors.allow_log_collection),
        "  Custom Messaging",
        f"    {settings.custom_message or 'none'}",
    ]


def _switch(name: str, on: bool) -> str:
    return f"    [{'x' if on else ' '}] {name}"


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
        f"{row.summary}"
        for row in failures.recent
    ] + _more(failures.total - len(failures.recent)) or ["  none"]


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


def incomplete_lines(report: IncompleteEnrollments) -> Iterator[str]:
    """The incomplete-enrollments report: roll-up, one line a day, and the tables."""
    figures = report.roll_up
    yield f"Incomplete user enrollments, {report.first_day} to {report.last_day} ({report.time_zone})"
    yield ""
    yield f"{figures.initiated:>8,} Initiated enrollments"
    yield f"{figures.incomplete:>8,} Incomplete enrollments"
    yield f"{percent(figures.incomplete_rate_percent):>8} Incomplete rate ({figures.abandoned:,} abandoned)"
    yield ""
    heads = ("Day", *(line.section.value for line in report.lines))
    counts = zip(*(line.days for line in report.lines), strict=True)
    yield from table(heads, [(str(p[0].day), *(str(one.abandoned) for one in p)) for p in counts])
    for found in report.tables:
        yield from ("", found.section.value)
        yield from table(
            ("Action name", "Screen or flow", "Platform", "User action", "Count"),
            [
                (row.action_name, row.screen_or_flow, row.platform, row.user_action, str(row.count))
                for row in (*found.rows, *found.others)
            ],
        )
    if report.without_section:
        yield from (
            "",
            f"{report.without_section:,} more were abandoned outside of these sections.",
        )


def effective_profile_lines(answer: page.EffectiveProfile) -> Iterator[str]:
    """Which profile a device gets and why, in lines of 80 columns."""
    facts = [answer.platform, answer.variant.value.replace("_", "-")]
    facts += [f"version {answer.os_version}"] if answer.os_version else []
    facts += [answer.user] if answer.user else ["no user"]
    profile = "the standard settings" if answer.chosen is None else answer.chosen.name
    yield from wrapped(f"{answer.device}: {profile}", 0)
    yield from wrapped(f"{', '.join(facts)} ({_SOURCES[answer.facts_from]})", 2)
    yield from ("", "Why this profile")
    if answer.chosen is None:
        yield from wrapped(answer.reason, 2)
    else:
        yield from columns(answer.chosen.name, answer.reason)
    for note in answer.notes:
        yield from wrapped(note, 2)
    if answer.rejected:
        yield from ("", "Why not the others")
    for row in answer.rejected:
        yield from columns(row.name, row.reason)
    yield from ("", "Admission")
    yield from wrapped(_admission(answer.admission), 2)
    if answer.given is not None:
        yield from wrapped(_given(answer.given), 2)
    yield ""
    yield from explanation_lines(answer.effect)


_SOURCES = {
    "attempt": "from its latest attempt, where nothing else was asked for",
    "registration": "from its registration, where nothing else was asked for",
    "request": "as asked; the device is not known",
}


def _admission(answer: page.AdmissionAnswer) -> str:
    if answer.failure is None:
        return "If it began now, it would be admitted."
    failure = answer.failure
    return f"If it began now, it would be refused with {failure.code}: {failure.engineer}"


def _given(given: page.GivenProfile) -> str:
    at = f"{given.issued_at:%Y-%m-%d %H:%M} UTC"
    if given.failure is not None:
        return f"Its latest attempt was refused ({at}): {given.failure.engineer}"
    return f"Its latest attempt was given {given.profile_name} ({at})."


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
