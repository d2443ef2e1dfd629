"""The simulated broker and the network around it: retained messages, wills, and QoS 1 at its worst."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from simulator.verify.world import MINUTE_MS, World

KEEP_ALIVE_MS: Final = 90_000
"""One and a half times a keep-alive of a minute: when a broker gives a silent session up."""
TRANSIT_MS: Final = 20
"""How long a message takes on a good day, one way."""
DUPLICATE_MS_MAX: Final = 10_000


class Client(Protocol):
    """Whoever has a connection."""

    def opened(self) -> None:
        """The connection is open and subscribed."""
        ...

    def closed(self, reason: str) -> None:
        """The connection, or the attempt to make one, came to nothing."""
        ...

    def received(self, topic: str, payload: bytes) -> None:
        """A message arrived."""
        ...


class Connection:
    """One clean MQTT session as both of its ends see it, which is not always the same."""

    __slots__ = (
        "_down_ms",
        "_listens",
        "_up_ms",
        "client",
        "client_id",
        "filters",
        "is_known",
        "is_open",
        "will",
    )

    def __init__(
        self, client: Client, client_id: str, filters: Sequence[str], will: tuple[str, bytes]
    ) -> None:
        self.client = client
        self.client_id = client_id
        self.filters = tuple(filters)
        self.will = will
        self.is_open = False
        """The client's end."""
        self.is_known = False
        """The broker's end."""
        self._listens: dict[str, bool] = {}
        self._up_ms: dict[str, int] = {"": 0}
        self._down_ms: dict[str, int] = {"": 0}

    def listens_to(self, topic: str) -> bool:
        """Whether it has subscribed to a topic."""
        if topic not in self._listens:
            self._listens[topic] = any(matches(pattern, topic) for pattern in self.filters)
        return self._listens[topic]

    def arrives_up(self, at_ms: int, topic: str, *, overtakes: bool) -> int:
        """When a message to the broker arrives: after those before it, or only after those of its topic."""
        return _in_order(self._up_ms, at_ms, topic, overtakes)

    def arrives_down(self, at_ms: int, topic: str, *, overtakes: bool) -> int:
        """When a message to the client arrives."""
        return _in_order(self._down_ms, at_ms, topic, overtakes)


def _in_order(floors: dict[str, int], at_ms: int, topic: str, overtakes: bool) -> int:
    at_ms = max(at_ms, floors.get(topic, 0), 0 if overtakes else floors[""])
    floors[topic] = at_ms
    floors[""] = max(floors[""], at_ms)
    return at_ms


def matches(pattern: str, topic: str) -> bool:
    """Whether a topic filter takes a topic; `+` stands for one level."""
    wanted, given = pattern.split("/"), topic.split("/")
    return len(wanted) == len(given) and all(
        w in ("+", g) for w, g in zip(wanted, given, strict=True)
    )


class Broker:
    """The broker of one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._sessions: dict[str, Connection] = {}
        self.retained: dict[str, bytes] = {}
        self.is_up = True

    # What clients do.

    def connect(self, connection: Connection) -> None:
        """Begin to connect; the client hears how it went."""
        self._world.after(
            self._transit_ms(connection) + TRANSIT_MS, lambda: self._accept(connection)
        )

    def publish(
        self,
        connection: Connection,
        topic: str,
        payload: bytes,
        *,
        retain: bool,
        acknowledged: Callable[[], None] | None = None,
    ) -> None:
        """Send a message at QoS 1; `acknowledged` is called once the broker's word that it has it is back."""
        world = self._world
        at_ms = connection.arrives_up(
            world.now_ms + self._transit_ms(connection),
            topic,
            overtakes=self._overtakes(connection),
        )

        def arrive() -> None:
            if not connection.is_known:
                return
            self._route(topic, payload, retain=retain)
            if acknowledged is not None:
                world.after(self._transit_ms(connection), lambda: _tell(connection, acknowledged))

        world.at(at_ms, arrive)
        self._duplicate(connection, at_ms, lambda: self._again(connection, topic, payload, retain))

    def disconnect(self, connection: Connection) -> None:
        """End a session on purpose, after what was sent in it: without a will."""
        connection.is_open = False
        at_ms = connection.arrives_up(self._world.now_ms + TRANSIT_MS, "", overtakes=False)
        self._world.at(at_ms, lambda: self._forget(connection))

    # What happens to it.

    def plant(self, topic: str, payload: bytes, *, retain: bool) -> None:
        """Whoever has the broker in his hands writes what he likes."""
        self._route(topic, payload, retain=retain)

    def break_connection(self, connection: Connection, reason: str) -> None:
        """The connection breaks; sometimes one end notices late."""
        world, who = self._world, connection.client_id
        half_open = world.chance(world.faults.half_open_share, who, "half open")
        late_ms = world.between(0, KEEP_ALIVE_MS, who, "half open noticed") if half_open else 0
        client_first = half_open and world.chance(0.5, who, "half open client first")
        if half_open:
            world.struck("half_open_share", who, "noticed by the client" if client_first else "")
        # What is on its way is lost at once, whoever notices when.
        broker_ms, client_ms = (late_ms, 0) if client_first else (0, late_ms)
        if not client_first or not half_open:
            self._lose(connection)
        else:
            world.after(broker_ms, lambda: self._lose(connection))
        world.after(client_ms, lambda: self._close(connection, reason))

    def stop(self, *, forgets: bool) -> None:
        """The broker goes down; wills are not published, and retained messages may be gone."""
        self.is_up = False
        for connection in list(self._sessions.values()):
            connection.is_known = False
            self._world.after(TRANSIT_MS, self._closer(connection, "the broker went away"))
        self._sessions.clear()
        if forgets:
            self.retained.clear()

    def start(self) -> None:
        """The broker is back."""
        self.is_up = True

    def sessions(self) -> list[Connection]:
        """The sessions that the broker knows."""
        return list(self._sessions.values())

    # Inside.

    def _accept(self, connection: Connection) -> None:
        if not self.is_up:
            connection.client.closed("the broker can't be reached")
            return
        old = self._sessions.get(connection.client_id)
        if old is not None:
            self._lose(old)
            self._world.after(TRANSIT_MS, self._closer(old, "another session took over"))
        self._sessions[connection.client_id] = connection
        connection.is_known = connection.is_open = True
        connection.client.opened()
        for topic in sorted(self.retained):
            if connection.listens_to(topic):
                self._deliver(connection, topic, self.retained[topic])

    def _route(self, topic: str, payload: bytes, *, retain: bool) -> None:
        if retain and payload:
            self.retained[topic] = payload
        elif retain:
            self.retained.pop(topic, None)
        for connection in list(self._sessions.values()):
            if connection.listens_to(topic):
                self._deliver(connection, topic, payload)

    def _deliver(self, connection: Connection, topic: str, payload: bytes) -> None:
        world = self._world
        if world.chance(world.faults.drops_share, connection.client_id, "drops"):
            world.happened["drops_share"] += 1
            return
        at_ms = connection.arrives_down(
            world.now_ms + self._transit_ms(connection),
            topic,
            overtakes=self._overtakes(connection),
        )

        def arrive() -> None:
            if connection.is_open and connection.is_known:
                connection.client.received(topic, payload)

        world.at(at_ms, arrive)
        self._duplicate(connection, at_ms, arrive)

    def _again(self, connection: Connection, topic: str, payload: bytes, retain: bool) -> None:
        if connection.is_known:
            self._route(topic, payload, retain=retain)

    def _duplicate(self, connection: Connection, at_ms: int, again: Callable[[], None]) -> None:
        world, who = self._world, connection.client_id
        if world.chance(world.faults.duplicates_share, who, "duplicate"):
            world.happened["duplicates_share"] += 1
            world.at(at_ms + world.between(1, DUPLICATE_MS_MAX, who, "duplicate after"), again)

    def _overtakes(self, connection: Connection) -> bool:
        world = self._world
        if world.chance(world.faults.reorders_share, connection.client_id, "overtakes"):
            world.happened["reorders_share"] += 1
            return True
        return False

    def _transit_ms(self, connection: Connection) -> int:
        world = self._world
        if world.faults.message_delays_ms_max == 0:
            return TRANSIT_MS
        world.happened["message_delays_ms_max"] += 1
        return TRANSIT_MS + world.between(
            0, world.faults.message_delays_ms_max, connection.client_id, "delay"
        )

    def _lose(self, connection: Connection) -> None:
        """The broker gives the session up: its will is published, now or late."""
        if not connection.is_known:
            return
        self._forget(connection)
        world, who = self._world, connection.client_id
        topic, payload = connection.will
        delay_ms = 0
        if world.chance(world.faults.late_wills_share, who, "late will"):
            delay_ms = world.between(0, 5 * MINUTE_MS, who, "late will after")
            world.struck("late_wills_share", who)
        world.after(delay_ms, lambda: self._publish_will(topic, payload))

    def _publish_will(self, topic: str, payload: bytes) -> None:
        if self.is_up:
            self._route(topic, payload, retain=True)

    def _forget(self, connection: Connection) -> None:
        connection.is_known = False
        if self._sessions.get(connection.client_id) is connection:
            del self._sessions[connection.client_id]

    def _closer(self, connection: Connection, reason: str) -> Callable[[], None]:
        return lambda: self._close(connection, reason)

    def _close(self, connection: Connection, reason: str) -> None:
        if connection.is_open:
            connection.is_open = False
            connection.client.closed(reason)


def _tell(connection: Connection, acknowledged: Callable[[], None]) -> None:
    if connection.is_open and connection.is_known:
        acknowledged()
