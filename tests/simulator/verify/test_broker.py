"""The simulated broker: what MQTT promises holds, and nothing beyond it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from simulator.draws import Draws
from simulator.verify.broker import Broker, Connection, matches
from simulator.verify.checkers import all_checkers
from simulator.verify.faults import NONE, Faults
from simulator.verify.plan import draw_world
from simulator.verify.trace import Trace
from simulator.verify.watch import Watch
from simulator.verify.world import HOUR_MS, World


@dataclass
class Listener:
    """Writes down what it hears."""

    heard: list[tuple[str, bytes]] = field(default_factory=list)
    closings: list[str] = field(default_factory=list)

    def opened(self) -> None: ...

    def closed(self, reason: str) -> None:
        self.closings.append(reason)

    def received(self, topic: str, payload: bytes) -> None:
        self.heard.append((topic, payload))


def small_world(faults: Faults = NONE, seed: int = 1) -> tuple[World, Broker]:
    plan = draw_world(1)
    world = World(Draws(seed, "test"), faults, Trace(), Watch(plan, all_checkers(plan)))
    return world, Broker(world)


def connect(broker: Broker, world: World, name: str) -> tuple[Connection, Listener]:
    listener = Listener()
    connection = Connection(listener, name, ["all/+"], (f"all/{name}", b"lost"))
    broker.connect(connection)
    world.run_until(world.now_ms + 100)
    return connection, listener


def test_a_plus_stands_for_one_level() -> None:
    assert matches("all/+/event", "all/device/event")
    assert not matches("all/+", "all/device/event")
    assert not matches("all/+/event", "all/device/status")


def test_messages_of_one_topic_keep_their_order_whatever_overtakes() -> None:
    world, broker = small_world(replace(NONE, message_delays_ms_max=5_000, reorders_share=1))
    connection, listener = connect(broker, world, "device")
    world.run_until(HOUR_MS)
    for number in range(20):
        topic = f"all/{number % 2}"
        broker.publish(connection, topic, bytes([number]), retain=False)
    world.run_until(2 * HOUR_MS)
    for topic in ("all/0", "all/1"):
        numbers = [payload for heard, payload in listener.heard if heard == topic]
        assert numbers == sorted(numbers)
        assert len(numbers) == 10
    assert listener.heard != sorted(listener.heard, key=lambda h: h[1]), "nothing was overtaken"


def test_a_duplicate_comes_later() -> None:
    world, broker = small_world(replace(NONE, duplicates_share=1))
    connection, listener = connect(broker, world, "device")
    broker.publish(connection, "all/x", b"1", retain=False)
    world.run_until(HOUR_MS)
    assert len(listener.heard) > 1


def test_what_is_on_its_way_is_lost_with_the_connection_and_the_will_is_published() -> None:
    world, broker = small_world()
    connection, listener = connect(broker, world, "device")
    _, other = connect(broker, world, "other")
    broker.publish(connection, "all/x", b"1", retain=True)
    broker.break_connection(connection, "cut")
    world.run_until(HOUR_MS)
    assert listener.closings == ["cut"]
    assert other.heard == [("all/device", b"lost")]
    assert broker.retained == {"all/device": b"lost"}


def test_a_goodbye_has_no_will() -> None:
    world, broker = small_world()
    connection, _ = connect(broker, world, "device")
    broker.disconnect(connection)
    world.run_until(HOUR_MS)
    assert broker.retained == {}


def test_another_session_of_the_same_name_ends_the_first() -> None:
    world, broker = small_world()
    _, first = connect(broker, world, "device")
    _, second = connect(broker, world, "device")
    assert first.closings == ["another session took over"]
    assert second.closings == []


def test_retained_messages_are_there_for_who_comes_later_unless_the_broker_forgot() -> None:
    world, broker = small_world()
    connection, _ = connect(broker, world, "device")
    broker.publish(connection, "all/x", b"1", retain=True)
    world.run_until(world.now_ms + 100)
    broker.stop(forgets=False)
    broker.start()
    _, later = connect(broker, world, "later")
    assert later.heard == [("all/x", b"1")]
    broker.stop(forgets=True)
    broker.start()
    _, latest = connect(broker, world, "latest")
    assert latest.heard == []


def test_a_broker_that_is_down_accepts_nobody() -> None:
    world, broker = small_world()
    broker.stop(forgets=False)
    connection, listener = connect(broker, world, "device")
    assert not connection.is_open
    assert listener.closings == ["the broker can't be reached"]
