"""The link machine: when to connect, when to hold, when to give way; for a device and for a collector alike.

The law of the link:

- Every connection attempt has the next session number. The number is durable before the connection is opened, for the
  will carries it, and a will of an older session must be told from the current one.
- A connection that fails or breaks is tried again after full jitter: a share, drawn by the caller, of a span that
  doubles with every failure in a row. A connection that did not last counts as a failure.
- Refused credentials or rights are tried again after long pauses only, and are shown.
- A peer that says it is offline is believed as far as holding back reports goes. Because it may be wrong, one report
  is sent as a probe now and then, and any acknowledgement ends the holding. A word of an older lease term is ignored.
- A peer that says it is back is heard by its whole fleet at once, so each link returns after a drawn share of the time
  that it was held, at most `return_ms_max`. What the peer sends meanwhile hastens nothing.
- A planned goodbye is published before disconnecting.

Time is the real monotonic time in milliseconds; the machine has no clock and draws no numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, assert_never

from agent.core.backoff import doubled


class LinkState(StrEnum):
    """Where the link is."""

    IDLE = "idle"
    CONNECTING = "connecting"
    OPEN = "open"
    HOLDING = "holding"
    """Connected, while the peer says that it is offline."""
    RETURNING = "returning"
    """Connected, and the peer is back: this link's turn comes soon."""
    WAITING = "waiting"
    """Between two connection attempts."""
    REFUSED = "refused"
    """Between two attempts, after the broker refused this identity."""
    LEAVING = "leaving"
    """The goodbye is on its way."""
    CLOSED = "closed"


CONNECTED_STATES: Final = frozenset(
    {LinkState.OPEN, LinkState.HOLDING, LinkState.RETURNING, LinkState.LEAVING}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkLimits:
    """How patient the link is."""

    backoff_ms: int = 1_000
    backoff_ms_max: int = 60_000
    refused_ms: int = 300_000
    stable_ms: int = 10_000
    """A connection that lasted so long was a success."""
    probe_ms: int = 15_000
    probe_ms_max: int = 300_000
    return_ms_max: int = 60_000
    """A fleet that was held returns spread over as long as it was held, and over this at most."""


@dataclass(frozen=True, slots=True)
class Started:
    """The program runs and wants a connection."""


@dataclass(frozen=True, slots=True)
class ConnectionOpened:
    """The connection is open and everything is subscribed to."""


@dataclass(frozen=True, slots=True)
class ConnectionLost:
    """The attempt failed or the connection broke. `draw` is in [0, 1)."""

    reason: str
    draw: float


@dataclass(frozen=True, slots=True)
class ConnectionRefused:
    """The broker refused this identity, or a right that it needs. `draw` is in [0, 1)."""

    reason: str
    draw: float


@dataclass(frozen=True, slots=True)
class PeerSeen:
    """The other side said whether it is there; a hint. `draw` is in [0, 1)."""

    online: bool
    store: str
    term: int
    draw: float


@dataclass(frozen=True, slots=True)
class PeerAnswered:
    """Something arrived that only a living peer sends, such as an acknowledgement."""


@dataclass(frozen=True, slots=True)
class DeadlinePassed:
    """The time that `next_deadline_ms` named has come. `draw` is in [0, 1)."""

    draw: float


@dataclass(frozen=True, slots=True)
class GoodbyeWanted:
    """The program wants to end."""


@dataclass(frozen=True, slots=True)
class GoodbyeSaid:
    """The goodbye was published, or there was no way to."""


Event = (
    Started
    | ConnectionOpened
    | ConnectionLost
    | ConnectionRefused
    | PeerSeen
    | PeerAnswered
    | DeadlinePassed
    | GoodbyeWanted
    | GoodbyeSaid
)


@dataclass(frozen=True, slots=True)
class OpenConnection:
    """Make the session number durable, then connect with a will that carries it."""

    session: int


@dataclass(frozen=True, slots=True)
class CloseConnection:
    """End the connection, or the attempt to make one."""


@dataclass(frozen=True, slots=True)
class PublishBirth:
    """Say that this session is online."""

    session: int


@dataclass(frozen=True, slots=True)
class PublishGoodbye:
    """Say that this session ends on purpose; answer with `GoodbyeSaid`."""

    session: int


@dataclass(frozen=True, slots=True)
class ResumeSending:
    """Send, beginning with the first report that is not acknowledged."""


@dataclass(frozen=True, slots=True)
class HoldSending:
    """Keep reports back."""


@dataclass(frozen=True, slots=True)
class SendProbe:
    """Send one report to see whether it gets through."""


Effect = (
    OpenConnection
    | CloseConnection
    | PublishBirth
    | PublishGoodbye
    | ResumeSending
    | HoldSending
    | SendProbe
)

_S = LinkState
_DOWN = (_S.IDLE, _S.WAITING, _S.REFUSED)

TRANSITIONS: Final[dict[tuple[LinkState, type[Event]], LinkState]] = {
    (_S.IDLE, Started): _S.CONNECTING,
    (_S.CONNECTING, ConnectionOpened): _S.OPEN,
    (_S.CONNECTING, ConnectionLost): _S.WAITING,
    (_S.CONNECTING, ConnectionRefused): _S.REFUSED,
    (_S.OPEN, ConnectionLost): _S.WAITING,
    (_S.OPEN, ConnectionRefused): _S.REFUSED,
    (_S.HOLDING, ConnectionLost): _S.WAITING,
    (_S.HOLDING, ConnectionRefused): _S.REFUSED,
    (_S.HOLDING, PeerAnswered): _S.OPEN,
    (_S.HOLDING, DeadlinePassed): _S.HOLDING,
    (_S.RETURNING, ConnectionLost): _S.WAITING,
    (_S.RETURNING, ConnectionRefused): _S.REFUSED,
    (_S.RETURNING, DeadlinePassed): _S.OPEN,
    (_S.WAITING, DeadlinePassed): _S.CONNECTING,
    (_S.REFUSED, DeadlinePassed): _S.CONNECTING,
    (_S.OPEN, GoodbyeWanted): _S.LEAVING,
    (_S.HOLDING, GoodbyeWanted): _S.LEAVING,
    (_S.RETURNING, GoodbyeWanted): _S.LEAVING,
    (_S.IDLE, GoodbyeWanted): _S.CLOSED,
    (_S.CONNECTING, GoodbyeWanted): _S.CLOSED,
    (_S.WAITING, GoodbyeWanted): _S.CLOSED,
    (_S.REFUSED, GoodbyeWanted): _S.CLOSED,
    (_S.LEAVING, GoodbyeSaid): _S.CLOSED,
    (_S.LEAVING, ConnectionLost): _S.CLOSED,
    (_S.LEAVING, ConnectionRefused): _S.CLOSED,
}
"""Every move but those of `PeerSeen`, which goes by what was said; an event that is not listed moves nothing."""


def peer_transition(state: LinkState, *, online: bool) -> LinkState:
    """Where a believed word of the peer leads."""
    match state:
        case LinkState.OPEN | LinkState.RETURNING if not online:
            return LinkState.HOLDING
        case LinkState.HOLDING if online:
            return LinkState.RETURNING
        case _:
            return state


def transition_rows() -> list[tuple[str, str, str]]:
    """The whole table as (state, event, next state), sorted, for the documentation."""
    rows = [(s.value, event.__name__, to.value) for (s, event), to in TRANSITIONS.items()]
    for online in (True, False):
        for state in LinkState:
            to = peer_transition(state, online=online)
            if to is not state:
                rows.append((state.value, f"PeerSeen({online=})", to.value))
    return sorted(rows)


class Link:
    """The link of one program to its broker.

    Args:
        session: the last session number that was used; 0 before the first.
    """

    def __init__(self, session: int = 0, limits: LinkLimits | None = None) -> None:
        self._session = session
        self._limits = LinkLimits() if limits is None else limits
        self._state = LinkState.IDLE
        self._failures = 0
        self._probes = 0
        self._opened_ms: int | None = None
        self._held_since_ms = 0
        self._deadline_ms: int | None = None
        self._problem = ""
        self._peer_store: str | None = None
        self._peer_term = 0
        self._peer_online: bool | None = None

    @property
    def state(self) -> LinkState:
        """Where the link is."""
        return self._state

    @property
    def session(self) -> int:
        """The number of the current or last session."""
        return self._session

    @property
    def is_connected(self) -> bool:
        """True while a connection is open."""
        return self._state in CONNECTED_STATES

    @property
    def peer_online(self) -> bool | None:
        """What the peer said last in this connection; None when nothing was heard."""
        return self._peer_online

    @property
    def problem(self) -> str:
        """One sentence on why there is no connection; empty while there is one."""
        return self._problem

    def next_deadline_ms(self) -> int | None:
        """When to feed `DeadlinePassed`."""
        return self._deadline_ms

    def handle(self, event: Event, now_ms: int) -> Sequence[Effect]:
        """Take one event; what to do follows, in this order."""
        before = self._state
        if isinstance(event, PeerSeen):
            if not self._believe(event):
                return ()
            self._state = peer_transition(before, online=event.online)
        elif (before, type(event)) in TRANSITIONS:
            self._state = TRANSITIONS[before, type(event)]
        else:
            return ()
        return self._effects_of(event, before, now_ms)

    def _effects_of(self, event: Event, before: LinkState, now_ms: int) -> Sequence[Effect]:
        match event:
            case Started():
                return self._connect()
            case ConnectionOpened():
                return self._greet(now_ms)
            case ConnectionLost() | ConnectionRefused():
                return self._wait(event, before, now_ms)
            case PeerSeen(draw=draw):
                return self._follow_peer(before, draw, now_ms)
            case PeerAnswered():
                return self._resume()
            case DeadlinePassed(draw=draw):
                return self._on_time(before, draw, now_ms)
            case GoodbyeWanted():
                return self._leave(before)
            case GoodbyeSaid():
                return (CloseConnection(),)
            case _:
                assert_never(event)

    def _connect(self) -> Sequence[Effect]:
        self._session += 1
        self._deadline_ms = None
        return (OpenConnection(self._session),)

    def _greet(self, now_ms: int) -> Sequence[Effect]:
        self._opened_ms = now_ms
        self._problem = ""
        self._peer_online = None
        return (PublishBirth(self._session), ResumeSending())

    def _wait(
        self, event: ConnectionLost | ConnectionRefused, before: LinkState, now_ms: int
    ) -> Sequence[Effect]:
        effects = self._hang_up(before)
        if self._state is not LinkState.CLOSED:
            if isinstance(event, ConnectionRefused):
                self._wait_long(event, now_ms)
            else:
                self._back_off(event, now_ms)
        self._opened_ms = None
        return effects

    def _back_off(self, event: ConnectionLost, now_ms: int) -> None:
        if self._opened_ms is not None and now_ms - self._opened_ms >= self._limits.stable_ms:
            self._failures = 0
        span = doubled(self._limits.backoff_ms, self._failures, self._limits.backoff_ms_max)
        self._failures += 1
        self._deadline_ms = now_ms + int(event.draw * span)
        self._problem = f"No connection to the broker: {event.reason}"

    def _wait_long(self, event: ConnectionRefused, now_ms: int) -> None:
        # At least half of the pause, so that a refused fleet is spread and never hot.
        pause_ms = int(self._limits.refused_ms * (1 + event.draw) / 2)
        self._deadline_ms = now_ms + pause_ms
        self._problem = (
            f"The broker refuses this account: {event.reason}. Trying again in "
            f"{max(1, pause_ms // 60_000)} min; an administrator has to look at it."
        )

    def _hang_up(self, before: LinkState) -> Sequence[Effect]:
        self._deadline_ms = None
        self._peer_online = None
        return (HoldSending(),) if before in CONNECTED_STATES else ()

    def _believe(self, said: PeerSeen) -> bool:
        if said.store == self._peer_store and said.term < self._peer_term:
            return False
        self._peer_store = said.store
        self._peer_term = said.term
        self._peer_online = said.online
        return True

    def _on_time(self, before: LinkState, draw: float, now_ms: int) -> Sequence[Effect]:
        if before in _DOWN:
            return self._connect()
        return self._resume() if before is LinkState.RETURNING else self._probe(draw, now_ms)

    def _follow_peer(self, before: LinkState, draw: float, now_ms: int) -> Sequence[Effect]:
        if self._state is before:
            return ()
        if self._state is LinkState.RETURNING:
            span = min(now_ms - self._held_since_ms, self._limits.return_ms_max)
            self._deadline_ms = now_ms + int(draw * span)
            return ()
        if before is LinkState.OPEN:
            self._held_since_ms = now_ms
        self._probes = 0
        self._arm_probe(draw, now_ms)
        return (HoldSending(),)

    def _resume(self) -> Sequence[Effect]:
        self._deadline_ms = None
        self._peer_online = True
        return (ResumeSending(),)

    def _probe(self, draw: float, now_ms: int) -> Sequence[Effect]:
        self._probes += 1
        self._arm_probe(draw, now_ms)
        return (SendProbe(),)

    def _arm_probe(self, draw: float, now_ms: int) -> None:
        span = doubled(self._limits.probe_ms, self._probes, self._limits.probe_ms_max)
        # At least half of the span, so that a fleet's probes are spread and none is hot.
        self._deadline_ms = now_ms + span // 2 + int(draw * span / 2)

    def _leave(self, before: LinkState) -> Sequence[Effect]:
        self._deadline_ms = None
        if self._state is LinkState.LEAVING:
            return (HoldSending(), PublishGoodbye(self._session))
        return (CloseConnection(),) if before is LinkState.CONNECTING else ()
