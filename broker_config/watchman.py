"""Carries out what the guard decides: an offender loses its rights for a while and its connection at once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from broker_config.authority import Purpose
from broker_config.deployment import Deployment, deny
from broker_config.files import write
from broker_config.guard import CUT_OFF_S, Guard, Offence
from broker_config.problems import BrokerProblem
from broker_config.readiness import connect_packet

KICK_DAYS = 1 / 24
KICK_S = 5.0
COUNTS_EVERY_S = 1.0


@dataclass(slots=True)
class Watchman:
    """Stands beside one Mosquitto.

    Args:
        port: of the devices' listener, on this machine.
        reload: lets the broker read its access rules anew.
        say: one line for the operator.
    """

    place: Deployment
    host: str
    port: int
    reload: Callable[[], None]
    say: Callable[[str], None]
    guard: Guard = field(default_factory=Guard)
    _offences: asyncio.Queue[Offence] = field(default_factory=asyncio.Queue)
    _until_s: dict[str, float] = field(default_factory=dict)

    def hear(self, text: str) -> None:
        """The next piece of the broker's log."""
        for offence in self.guard.hear(text, time.monotonic()):
            self._offences.put_nowait(offence)

    async def stand(self) -> None:
        """Work until cancelled; then everybody has the rights back."""
        counts = asyncio.create_task(self._count(), name="guard's counts")
        try:
            while True:
                await self._next()
        finally:
            counts.cancel()
            await asyncio.gather(counts, return_exceptions=True)
            self._pardon(list(self._until_s))

    async def _next(self) -> None:
        now_s = time.monotonic()
        ends_s = min(self._until_s.values(), default=now_s + CUT_OFF_S)
        try:
            async with asyncio.timeout(max(0.0, ends_s - now_s)):
                offence = await self._offences.get()
        except TimeoutError:
            now_s = time.monotonic()
            self._pardon([one for one, until_s in self._until_s.items() if until_s <= now_s])
            return
        await self._cut_off(offence)

    async def _cut_off(self, offence: Offence) -> None:
        """Rights first: who comes back at once comes back to nothing."""
        self.say(f"cut off for {CUT_OFF_S / 60:.0f} minutes: {offence}")
        try:
            if offence.client not in self._until_s:
                deny(self.place.directory, offence.client, wanted=True)
            self._until_s[offence.client] = time.monotonic() + CUT_OFF_S
            self.reload()
            await self._kick(offence.client)
        except (BrokerProblem, OSError) as error:
            self.say(f"could not cut off {offence.client}: {error}")

    async def _kick(self, client: str) -> None:
        """Whoever signs in under a client's name ends its connection; MQTT 3.1.1 §3.1.4-2 has every broker do so."""
        tls = self.place.tls
        made = tls.authority(tls.devices_authority).issue(client, Purpose.CLIENT, days=KICK_DAYS)
        context = ssl.create_default_context(cafile=tls.servers_authority)
        with tempfile.NamedTemporaryFile("w", prefix="esp-broker-") as file:
            file.write(made.certificate + made.key)
            file.flush()
            context.load_cert_chain(file.name)
        with contextlib.suppress(asyncio.IncompleteReadError, TimeoutError):
            async with asyncio.timeout(KICK_S):
                reader, writer = await asyncio.open_connection(self.host, self.port, ssl=context)
                try:
                    writer.write(connect_packet(client.encode()))
                    await reader.readexactly(4)
                finally:
                    writer.close()

    def _pardon(self, clients: Sequence[str]) -> None:
        for client in clients:
            del self._until_s[client]
            deny(self.place.directory, client, wanted=False)
            self.say(f"has its rights back: {client}")

    async def _count(self) -> None:
        """Keep the totals where an operator, or a script, finds them."""
        written = ""
        while True:
            await asyncio.sleep(COUNTS_EVERY_S)
            content = as_json(self.guard)
            if content != written:
                written = content
                write(self.place.counts, content)


def as_json(guard: Guard) -> str:
    """The totals by client; who only does what every agent does is left out."""
    named: dict[str, dict[str, int]] = {}
    for (client, deed), count in sorted(guard.totals.items()):
        named.setdefault(client, {})[deed.value] = count
    return (
        json.dumps({c: deeds for c, deeds in named.items() if "denied" in deeds}, indent=2) + "\n"
    )
