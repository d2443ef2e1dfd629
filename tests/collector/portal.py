"""What real Company Portal enrollments report: the machine's own reports, numbered and sent as an agent does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agent.core import effects as do
from agent.core.person_screens import ABANDONMENT_ROWS, AbandonmentRow
from agent.wire.codec import digest
from agent.wire.events import Event, Report
from agent.wire.vocabulary import EnrollmentType, PersonAction
from tests.agent.core.script import Script, hangs
from tests.agent.core.test_abandonment import begun
from tests.collector.fleet import DEVICE_TIME

IOS, ANDROID = EnrollmentType.IOS, EnrollmentType.ANDROID_ENTERPRISE
ROWS = {row.id: row for row in ABANDONMENT_ROWS}


def abandoned(row: AbandonmentRow, platform: EnrollmentType) -> Script:
    """An enrollment that ends by this row."""
    if row.action is not None:
        return begun(row, platform).play(stop_at=row.start).act(row.start, row.action)
    return begun(row, platform).behave(row.start, hangs).play(stop_at=row.start).wait(30)


def closed(platform: EnrollmentType) -> Script:
    """Somebody closes the portal in front of the terms of use."""
    row = ROWS["terms-decline"]
    return begun(row, platform).play(stop_at=row.start).act(row.start, PersonAction.CLOSE)


def enrolled(platform: EnrollmentType) -> Script:
    """Somebody goes all the way."""
    return begun(ROWS["terms-decline"], platform).play().wait(120)


def waiting(platform: EnrollmentType, minutes: float = 1) -> Script:
    """Somebody still looks at the terms of use."""
    row = ROWS["terms-time"]
    return begun(row, platform).play(stop_at=row.start).wait(minutes)


class Sender:
    """One device with its stream, which sends what its machine reports, attempt by attempt."""

    def __init__(self, device: str) -> None:
        self.device = device
        self._stream = f"{device}-stream"
        self._seq = 0
        self._attempts = 0
        self._last: str | None = None

    def sent(self, story: Script) -> list[Event]:
        """The reports of one more attempt."""
        self._attempts += 1
        reports = [effect for effect in story.effects if isinstance(effect, do.Report)]
        return list(self._numbered(reports))

    def _numbered(self, reports: Sequence[do.Report]) -> Iterator[Event]:
        for one in reports:
            self._seq += 1
            made = Event(
                device=self.device,
                stream=self._stream,
                seq=self._seq,
                oldest_held=1,
                after=self._last,
                session=1,
                report=Report(
                    attempt=f"{self.device}-{self._attempts}",
                    attempt_ms=one.attempt_ms,
                    device_time=DEVICE_TIME,
                    stage=one.stage,
                    percent=one.percent,
                    body=one.body,
                ),
            )
            self._last = digest(made.stream, made.seq, made.report, made.after)
            yield made
