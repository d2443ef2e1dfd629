"""What every other client of the live benchmark has to do, told without this project: it runs in environments of their own."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TELL_S = 0.2


class Plan:
    """The traffic, and the figures of the client that carries it."""

    def __init__(self, path: str) -> None:
        plan = json.loads(Path(path).read_bytes())
        self.host: str = plan["host"]
        self.port: int = plan["port"]
        self.ends_s: float = plan["ends_s"]
        self.players: list[dict[str, Any]] = plan["players"]
        self.templates: list[dict[str, Any]] = plan["templates"]
        self.began_s = 0.0
        self.connected = 0
        self.created = 0
        self.acknowledged = 0
        self.sent = 0
        self.statuses = 0
        self.payload_bytes = 0
        self.failed: dict[str, int] = {}
        self.latencies_ms: list[float] = []

    def messages(self, player: dict[str, Any]) -> Iterator[tuple[float, bool, bytes]]:
        """When each message of a device is due, on the monotonic clock; whether it is a report; and its payload."""
        template = self.templates[player["template"]]
        names = [
            (template[name].encode(), player[name].encode())
            for name in ("device", "stream", "attempt")
        ]
        for message in template["messages"]:
            due_s = player["starts_s"] + message["at_s"]
            if due_s > self.ends_s:
                return
            payload = message["payload"].encode()
            for theirs, ours in names:
                payload = payload.replace(theirs, ours)
            yield self.began_s + due_s, message["is_event"], payload

    def begin(self) -> None:
        """The run begins now."""
        self.began_s = time.monotonic()
        print("ready client", flush=True)

    def published(self, payload: str | bytes, *, is_status: bool = False) -> None:
        """One more message is on its way."""
        self.sent += 1
        self.statuses += is_status
        self.payload_bytes += len(payload)

    def tell(self) -> None:
        """Say how far it is, as one line of JSON."""
        figures = {
            "connected": self.connected,
            "created": self.created,
            "acknowledged": self.acknowledged,
            "messages": self.sent,
            "statuses": self.statuses,
            "payload_bytes": self.payload_bytes,
        }
        print(json.dumps(figures), flush=True)

    def end(self) -> None:
        """Say what came of it."""
        print(json.dumps({"failed": self.failed, "latencies_ms": self.latencies_ms}), flush=True)

    def fail(self, reason: object) -> None:
        """Count something that went wrong."""
        words = str(reason)[:120]
        self.failed[words] = self.failed.get(words, 0) + 1

    @property
    def is_over(self) -> bool:
        """Nothing more is sent, and everything that was sent is acknowledged."""
        return time.monotonic() > self.began_s + self.ends_s and self.acknowledged >= self.created


class Waiting:
    """The reports of one device that wait for an acknowledgement."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._due_s: list[float] = []
        self._stored = 0

    def sent(self, due_s: float) -> None:
        """One more report is on its way."""
        self._due_s.append(due_s)
        self._plan.created += 1

    def acknowledged(self, payload: bytes) -> None:
        """The collector has said how far this stream is stored."""
        through = min(json.loads(payload)["stored_seq"], len(self._due_s))
        now_s = time.monotonic()
        for due_s in self._due_s[self._stored : through]:
            self._plan.latencies_ms.append(round((now_s - due_s) * 1000, 2))
        self._plan.acknowledged += max(0, through - self._stored)
        self._stored = max(self._stored, through)


def plan_of(arguments: list[str]) -> Plan:
    """The plan whose file is the last argument."""
    return Plan(arguments[-1])


if __name__ == "__main__":
    sys.exit("this is what the clients share; run benchmarks.live")
