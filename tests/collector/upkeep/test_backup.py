"""A copy is whole while reports come in, and after going back to it devices send again what they still hold."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.core.outbox import (
    AckArrived,
    Outbox,
    ReportQueued,
    ReportsFetched,
    SendingResumed,
    SendReport,
)
from agent.core.outbox import FetchReports as Fetch
from agent.core.outbox import KeepReport as Keep
from agent.core.outbox import NumberReport as Number
from agent.wire.codec import decode, encode
from agent.wire.events import AttemptEnded, AttemptStarted, Body, Event, PhaseChanged, Report
from agent.wire.messages import Ack
from agent.wire.topics import Channel, device_topic, partition_of
from agent.wire.vocabulary import EndState, EnrollmentType, Phase, RowState, Stage
from collector.subscriber.inbound import Taken
from collector.subscriber.ports import Delivered
from collector.upkeep.backup import BackupRefused, back_up, restore
from collector.upkeep.data_directory import collector_id
from tests.collector.fleet import DEVICE_TIME, TENANT, Office, Reporter, SetClock

NOW = datetime(2025, 6, 15, 12, 0, tzinfo=UTC)
DEVICE = "DESKTOP-NEW001"


class Agent:
    """A device's outbox, by way of the real intake: what it sends is taken in, and what is answered is heard."""

    def __init__(self) -> None:
        self.outbox = Outbox("stream-1")
        self.kept: dict[int, Report] = {}
        self.by_seq: dict[int, Report] = {}
        self.sent = 0
        self.heard: list[Ack] = []
        self._now_ms = 0

    def report(self, office: Office, body: Body) -> None:
        made = Report(
            attempt="attempt-1",
            attempt_ms=0,
            device_time=DEVICE_TIME,
            stage=Stage.DEVICE_SETUP,
            percent=10,
            body=body,
        )
        self._feed(office, ReportQueued(made))

    def resume(self, office: Office) -> None:
        """Connected again: the birth is a question, and the answer says how far it is stored."""
        self._feed(office, SendingResumed())
        answers, _ = office.inbound.answer_births([(DEVICE, "stream-1")], office.terms)
        for said in answers:
            self._hear(office, said.topic, said.payload)

    def _feed(self, office: Office, event: object) -> None:
        self._now_ms += 1
        for effect in self.outbox.handle(event, self._now_ms):  # type: ignore[arg-type]
            match effect:
                case Keep(position=position, report=report):
                    self.kept[position] = report
                case Number(position=position, seq=seq):
                    self.by_seq[seq] = self.kept[position]
                case Fetch(first=first, last=last):
                    found = [(n, self.by_seq[n]) for n in range(first, last + 1)]
                    self._feed(office, ReportsFetched(found))
                case SendReport():
                    self._send(office, effect)
                case _:
                    pass

    def _send(self, office: Office, effect: SendReport) -> None:
        self.sent += 1
        event = Event(
            device=DEVICE,
            stream="stream-1",
            seq=effect.seq,
            oldest_held=effect.oldest_held,
            after=effect.after,
            session=1,
            report=effect.report,
        )
        topic = str(device_topic(TENANT, DEVICE, Channel.EVENT))
        partition = partition_of(DEVICE)
        taken = Taken(
            partition, office.terms[partition], Delivered(topic, encode(event), retained=False)
        )
        for said in office.inbound.take([taken], office.terms).said:
            self._hear(office, said.topic, said.payload)

    def _hear(self, office: Office, topic: str, payload: bytes) -> None:
        if topic.endswith("/ack"):
            ack = decode(Ack, payload)
            self.heard.append(ack)
            self._feed(office, AckArrived(ack.store, ack.stored_seq, ack.digest))


def started() -> AttemptStarted:
    return AttemptStarted(
        enrollment_type=EnrollmentType.WINDOWS_AUTOPILOT,
        platform="Windows 11",
        os_version="10.0.22631",
        agent_version="0.1.0",
    )


def moved() -> PhaseChanged:
    return PhaseChanged(phase=Phase.DEVICE_SETUP, state=RowState.IN_PROGRESS)


def stored(office: Office) -> list[tuple[int, str]]:
    return [(row.seq, row.digest) for row in office.store.stored_rows()]


def test_after_a_restore_devices_send_again_what_they_still_hold(tmp_path: Path) -> None:
    """The store that went back ends with every report once, in order, as if nothing had happened."""
    data, copy = tmp_path / "data", tmp_path / "copy"
    data.mkdir()
    clock = SetClock()
    office, agent = Office.open(data, clock), Agent()
    agent.resume(office)
    for body in (started(), moved(), moved()):
        agent.report(office, body)
    contents = back_up(data, copy, NOW)
    assert (contents.reports, contents.attempts, contents.store) == (3, 1, office.store.id)
    agent.report(office, moved())
    agent.report(office, moved())
    agent.report(office, AttemptEnded(end_state=EndState.SUCCEEDED))
    before, first_life = stored(office), office.store.id
    assert [seq for seq, _ in before] == [1, 2, 3, 4, 5, 6]
    assert agent.outbox.unacknowledged == 0
    office.close()

    restore(copy, data, NOW, replace=True)
    office = Office.open(data, clock)
    assert office.store.id != first_life
    assert [seq for seq, _ in stored(office)] == [1, 2, 3], "gone back"
    sent_before = agent.sent
    agent.resume(office)
    assert stored(office) == before, "the same reports, each once"
    assert agent.sent - sent_before == 3, "and no more than were missing"
    assert agent.outbox.unacknowledged == 0
    (view,) = office.store.attempts()
    assert view.end_state is EndState.SUCCEEDED
    office.close()


def test_a_copy_is_whole_while_reports_come_in(office: Office, tmp_path: Path) -> None:
    device = Reporter()
    office.take_in([device.begin()])
    with office.store.database.writing():
        # A transaction is under way, and what it does is not in the copy.
        contents = back_up(tmp_path, tmp_path / "copy", NOW)
    office.take_in([device.end()])
    assert contents.reports == 1
    assert (tmp_path / "copy" / "store.sqlite").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "copy" / "keys").is_dir()


def test_a_store_of_the_directory_is_set_aside_and_not_lost(office: Office, tmp_path: Path) -> None:
    office.take_in([Reporter().begin()])
    back_up(tmp_path, tmp_path / "copy", NOW)
    office.close()
    with pytest.raises(BackupRefused, match="--replace"):
        restore(tmp_path / "copy", tmp_path, NOW)
    restore(tmp_path / "copy", tmp_path, NOW, replace=True)
    (aside,) = tmp_path.glob("store.sqlite.before-*Z")
    found = sqlite3.connect(aside).execute("SELECT count(*) FROM events").fetchone()
    assert found == (1,)


def test_keys_that_devices_trust_are_not_changed(office: Office, tmp_path: Path) -> None:
    back_up(tmp_path, tmp_path / "copy", NOW)
    office.close()
    mine = tmp_path / "data"
    (mine / "keys").mkdir(parents=True)
    (mine / "keys" / "mine").write_text("x")
    restore(tmp_path / "copy", mine, NOW)
    assert [path.name for path in (mine / "keys").iterdir()] == ["mine"]


def _no_store(tmp_path: Path) -> None:
    back_up(tmp_path / "nothing", tmp_path / "copy", NOW)


def _taken(tmp_path: Path) -> None:
    back_up(tmp_path, tmp_path, NOW)


def _no_copy(tmp_path: Path) -> None:
    restore(tmp_path / "nothing", tmp_path / "data", NOW)


def _damaged(tmp_path: Path) -> None:
    back_up(tmp_path, tmp_path / "copy", NOW)
    path = tmp_path / "copy" / "store.sqlite"
    content = bytearray(path.read_bytes())
    content[4096 : 3 * 4096] = b"\xff" * (2 * 4096)
    path.write_bytes(content)
    restore(tmp_path / "copy", tmp_path / "data", NOW)


def _in_use(tmp_path: Path) -> None:
    back_up(tmp_path, tmp_path / "copy", NOW)
    (tmp_path / "data").mkdir()
    with collector_id(tmp_path / "data"):
        restore(tmp_path / "copy", tmp_path / "data", NOW)


@pytest.mark.parametrize(
    ("do", "says"),
    [
        (_no_store, "there is no SQLite store"),
        (_taken, "is there already"),
        (_no_copy, "there is no copy"),
        (_damaged, "take another copy"),
        (_in_use, "stop it first"),
    ],
)
def test_what_can_not_be_done_says_why(
    office: Office, tmp_path: Path, do: Callable[[Path], None], says: str
) -> None:
    with pytest.raises(BackupRefused, match=says):
        do(tmp_path)
    assert not (tmp_path / "data" / "store.sqlite").exists()
