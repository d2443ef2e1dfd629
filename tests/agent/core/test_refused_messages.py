"""What somebody else writes on a device's topics moves nothing, and the collector is told once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from agent.core import effects as do
from agent.core.enrollment import Enrollment
from agent.core.events import CommandReceived
from agent.core.events import MessageRefused as Refusal
from agent.core.reading import NotForUs, Reader, SignatureRefused
from agent.core.state import Mode
from agent.wire.assignment import Admitted, Assignment
from agent.wire.codec import encode
from agent.wire.events import CommandAnswered, MessageRefused
from agent.wire.messages import Ack, CollectLogs, CollectorState, Command, Signed
from agent.wire.profile import EspProfile
from agent.wire.topics import Channel, collector_topic, device_topic, partition_of
from agent.wire.vocabulary import EnrollmentType, FailureKind, Gate, MessageKind, RefusalReason
from tests.agent.core.script import Script, fails_with, hangs

DEVICE, TENANT, STREAM, ATTEMPT = "PC-1", "tests", "stream-1", "attempt-1"
NOW = datetime(2026, 11, 21, 8, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)

ACK = Ack(device=DEVICE, store="s", term=1, stream=STREAM, stored_seq=1)
ASSIGNMENT = Assignment(
    device=DEVICE,
    attempt=ATTEMPT,
    store="s",
    term=1,
    version=2,
    issued_at=NOW,
    decision=Admitted(profile=EspProfile(id="default", name="Default ESP")),
)
COMMAND = Command(
    id="c-1",
    device=DEVICE,
    attempt=ATTEMPT,
    action=CollectLogs(),
    issued_by="help desk",
    issued_at=NOW,
    expires_at=NOW + timedelta(hours=1),
    attempt_ms_max=3_600_000,
)


def verify(compact: str, typ: str) -> bytes:
    """A signature is good when it says what it is for; the payload is the message in hex."""
    header, payload, signature = compact.split(".")
    if header != typ.replace("+", "-"):
        raise SignatureRefused("signed as something else")
    if signature != "good":
        raise SignatureRefused("by a stranger", RefusalReason(signature))
    return bytes.fromhex(payload)


def signed(message: Assignment | Command, signature: str = "good", typ: str = "") -> bytes:
    typ = typ or ("assignment" if isinstance(message, Assignment) else "command")
    payload = encode(message).hex()
    return encode(Signed(protected=f"esp-{typ}-jws", payload=payload, signature=signature))


def topic(channel: Channel, command: str | None = None) -> str:
    return str(device_topic(TENANT, DEVICE, channel, command))


def told(reader: Reader, where: str, payload: bytes, attempt: str = ATTEMPT) -> Refusal | None:
    with pytest.raises(NotForUs) as refused:
        reader.read(where, payload, attempt, NOW_MS)
    return refused.value.to_tell


@pytest.fixture
def reader() -> Reader:
    return Reader(TENANT, DEVICE, STREAM, verify)


ON_ACK = topic(Channel.ACK)
ON_ASSIGNMENT = topic(Channel.ASSIGNMENT)
ON_COMMAND = topic(Channel.COMMAND, "c-1")
ELSEWHERE = {"device": "PC-2"}

SUSPICIOUS = {
    "an ack that is none": (ON_ACK, b"{}", "ack unreadable"),
    "an ack of another": (ON_ACK, encode(ACK.model_copy(update=ELSEWHERE)), "ack other_device"),
    "an assignment as it is": (ON_ASSIGNMENT, encode(ASSIGNMENT), "assignment unsigned"),
    "a command as it is": (ON_COMMAND, encode(COMMAND), "command unsigned"),
    "far too much": (ON_COMMAND, b"x" * 70_000, "command unsigned"),
    "altered": (ON_COMMAND, signed(COMMAND, "signature"), "command signature"),
    "of a stranger": (ON_ASSIGNMENT, signed(ASSIGNMENT, "unknown_key"), "assignment unknown_key"),
    "an assignment as a command": (ON_COMMAND, signed(ASSIGNMENT), "command signature"),
    "signed and nonsense": (
        ON_COMMAND,
        signed(ASSIGNMENT, typ="command"),
        "command unreadable",
    ),
    "an assignment of another": (
        ON_ASSIGNMENT,
        signed(ASSIGNMENT.model_copy(update=ELSEWHERE)),
        "assignment other_device",
    ),
    "a command of another": (
        ON_COMMAND,
        signed(COMMAND.model_copy(update=ELSEWHERE)),
        "command other_device",
    ),
    "under another id": (
        topic(Channel.COMMAND, "c-2"),
        signed(COMMAND),
        "command other_command",
    ),
}

HARMLESS = {
    "the assignment of the attempt before": (
        ON_ASSIGNMENT,
        signed(ASSIGNMENT.model_copy(update={"attempt": "attempt-0"})),
    ),
    "an assignment that comes late": (
        ON_ASSIGNMENT,
        signed(ASSIGNMENT.model_copy(update={"version": 1})),
    ),
    "of another device's topic": (str(device_topic(TENANT, "PC-2", Channel.ACK)), b"{}"),
    "of a topic that it writes itself": (topic(Channel.EVENT), b"{}"),
    "of no topic at all": ("somewhere/else", b"{}"),
    "the collector's word that can't be read": (
        str(collector_topic(TENANT, partition_of(DEVICE))),
        b"{}",
    ),
    "the collector of others": (
        str(collector_topic(TENANT, "0")),
        encode(CollectorState(partition="0", store="s", term=1, state="online")),
    ),
}


@pytest.mark.rule("refused-messages")
@pytest.mark.parametrize("name", SUSPICIOUS)
def test_what_normal_life_does_not_have_is_told(reader: Reader, name: str) -> None:
    where, payload, finding = SUSPICIOUS[name]
    message, reason = finding.split()
    refusal = Refusal(message=MessageKind(message), reason=RefusalReason(reason))
    assert told(reader, where, payload) == refusal


@pytest.mark.rule("refused-messages")
@pytest.mark.parametrize("name", HARMLESS)
def test_what_normal_life_has_is_refused_and_not_told(reader: Reader, name: str) -> None:
    reader.note_assignment(ASSIGNMENT)
    assert told(reader, *HARMLESS[name]) is None


def test_what_is_good_is_taken(reader: Reader) -> None:
    assert reader.read(ON_ACK, encode(ACK), ATTEMPT, NOW_MS) == ACK
    assert reader.read(ON_ASSIGNMENT, signed(ASSIGNMENT), ATTEMPT, NOW_MS) == ASSIGNMENT
    taken = reader.read(ON_COMMAND, signed(COMMAND), ATTEMPT, NOW_MS)
    assert taken == CommandReceived(command=COMMAND)
    earlier_life = ACK.model_copy(update={"stream": "stream-0"})
    assert reader.read(ON_ACK, encode(earlier_life), ATTEMPT, NOW_MS) is None


@pytest.mark.rule("refused-messages")
def test_a_flood_is_told_once_and_another_attempt_is_told_again(reader: Reader) -> None:
    first = [told(reader, ON_COMMAND, encode(COMMAND)) for _ in range(1_000)]
    assert [refusal for refusal in first if refusal is not None] == first[:1]
    assert told(reader, ON_COMMAND, signed(COMMAND, "signature")) is not None
    assert told(reader, ON_ASSIGNMENT, encode(ASSIGNMENT)) is not None
    assert told(reader, ON_COMMAND, encode(COMMAND)) is None
    assert told(reader, ON_COMMAND, encode(COMMAND), "attempt-2") == first[0]
    assert told(reader, ON_COMMAND, encode(COMMAND), "attempt-2") is None


# What the machine does with it.

FORGED = Refusal(message=MessageKind.COMMAND, reason=RefusalReason.SIGNATURE)
UNSIGNED = Refusal(message=MessageKind.ASSIGNMENT, reason=RefusalReason.UNSIGNED)


def waiting() -> Script:
    return Script().begin()


def at_work() -> Script:
    return Script(EnrollmentType.WINDOWS_MANUAL).behave("vpn", hangs).begin().assign().play()


def restarting() -> Script:
    story = Script().behave("portal", fails_with(1641)).begin().assign()
    while story.machine.mode is not Mode.RESTARTING:
        story.play(inputs_max=len(story.inputs) + 1)
    return story


def stopped() -> Script:
    return Script().behave("vpn", fails_with(1603)).begin().assign().play()


def ended() -> Script:
    return Script().begin().assign().play()


MODES = {
    Mode.WAITING_FOR_ASSIGNMENT: waiting,
    Mode.WORKING: at_work,
    Mode.RESTARTING: restarting,
    Mode.STOPPED: stopped,
    Mode.ENDED: ended,
}


@pytest.mark.rule("refused-messages")
@pytest.mark.parametrize("mode", MODES)
def test_it_is_reported_once_whatever_goes_on_and_moves_nothing(mode: Mode) -> None:
    story = MODES[mode]()
    before, due_ms = story.machine.progress, story.machine.next_deadline_ms()
    assert story.machine.mode is mode
    for refusal in (FORGED, UNSIGNED):
        (report,) = story.feed(refusal)
        assert isinstance(report, do.Report)
        assert report.body == MessageRefused(message=refusal.message, reason=refusal.reason)
        assert story.machine.refusal is None
        assert story.feed(refusal) == []
        assert story.machine.refusal == "this was reported before"
    assert (story.machine.mode, story.machine.next_deadline_ms()) == (mode, due_ms)
    assert story.machine.progress == before


@pytest.mark.rule("refused-messages")
def test_a_device_that_got_forged_assignments_only_says_so_at_the_end_of_its_wait() -> None:
    story = waiting()
    story.feed(UNSIGNED)
    story.feed(FORGED)
    story.wait(60)
    failure = story.end_failure()
    assert failure.kind is FailureKind.NO_ASSIGNMENT
    assert failure.engineer == "no assignment within 60 minutes; what came was refused: not signed"
    assert "Contact your support person" in failure.person


def test_before_the_first_attempt_there_is_nothing_to_report_in() -> None:
    machine = Enrollment()
    assert machine.handle(FORGED, 0) == []
    assert machine.refusal == "no attempt has begun"


@pytest.mark.rule("refused-messages")
def test_it_is_remembered_over_restarts_and_told_anew_in_another_attempt() -> None:
    story = at_work()
    story.feed(FORGED)
    story.crash()
    assert story.feed(FORGED) == []
    assert Enrollment.restored(story.machine.checkpoint()).handle(FORGED, story.now_ms) == []
    story.begin("attempt-2")
    assert len(story.feed(FORGED)) == 1
    assert len(story.of(MessageRefused)) == 2


# Old commands.


def delivered(story: Script, command: Command, *, expired: bool = False) -> list[object]:
    effects = story.feed(CommandReceived(command=command, expired=expired))
    return [e.body for e in effects if isinstance(e, do.Report)]


REPLAYED = MessageRefused(message=MessageKind.COMMAND, reason=RefusalReason.REPLAYED)


@pytest.mark.rule("refused-messages")
def test_a_command_that_comes_again_in_time_is_normal_life() -> None:
    """It stays retained until its answer is stored, and this device's wall clock may be ahead."""
    story = at_work()
    command = story.command(CollectLogs(), attempt_ms_max=60 * 60_000 + 500_000)
    assert isinstance(delivered(story, command)[0], CommandAnswered)
    assert delivered(story, command) == []
    assert delivered(story, command, expired=True) == []


@pytest.mark.rule("refused-messages")
def test_a_command_that_comes_again_long_after_its_time_is_told() -> None:
    story = at_work()
    command = story.command(CollectLogs(), attempt_ms_max=10**6)
    delivered(story, command)
    story.wait(20)
    assert delivered(story, command) == [REPLAYED]
    assert story.machine.refusal == f"command '{command.id}' was answered before"
    assert delivered(story, command) == []


@pytest.mark.rule("refused-messages")
def test_a_command_of_an_attempt_before_is_told_once_it_has_expired() -> None:
    """A reset that is delivered again finds the attempt that it began."""
    story = at_work()
    command = story.command(CollectLogs())
    delivered(story, command)
    story.begin("attempt-2")
    assert delivered(story, command) == []
    assert delivered(story, command, expired=True) == [REPLAYED]
    assert story.machine.gate is Gate.LOCKED
