"""Whether a broker is there: an MQTT CONNECT that gets its answer, and ports that are free before that."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import struct

from broker_config.problems import BrokerProblem

CLIENT_ID = b"esp-broker-ready"
KEEPALIVE_S = 10
RETRY_S = 0.02
ANSWER_S = 2.0


def connect_packet(client_id: bytes = CLIENT_ID) -> bytes:
    """A CONNECT of MQTT 3.1.1 with a clean session and no account (OASIS MQTT 3.1.1 §3.1)."""
    variable = b"\x00\x04MQTT\x04\x02" + struct.pack(">H", KEEPALIVE_S)
    payload = struct.pack(">H", len(client_id)) + client_id
    return bytes([0x10, len(variable) + len(payload)]) + variable + payload


async def answers(host: str, port: int, *, is_tls: bool = False) -> bool:
    """Whether something at this address answers a CONNECT; a refusal is an answer too.

    Behind TLS nobody answers a stranger. There it is enough that one who hangs up is hung up on: Mosquitto listens
    before it has set up its signal handlers, and serves after that.
    """
    try:
        reader, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    try:
        if is_tls:
            writer.write_eof()
            with contextlib.suppress(ConnectionError):
                await asyncio.wait_for(reader.read(), ANSWER_S)
            return True
        writer.write(connect_packet())
        packet = await asyncio.wait_for(reader.readexactly(4), ANSWER_S)
        if packet[3] == 0:
            writer.write(b"\xe0\x00")
            await writer.drain()
        return packet[0] == 0x20
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return False
    finally:
        writer.close()


async def until_ready(host: str, port: int, *, is_tls: bool = False) -> None:
    """Return once the broker answers; the caller sets the limit."""
    while True:
        if await answers(host, port, is_tls=is_tls):
            return
        await asyncio.sleep(RETRY_S)


def free_port(host: str) -> int:
    """A port that nobody listens on at this moment. Raises `BrokerProblem` when the address is not ours."""
    with _socket(host) as probe:
        _bind(probe, host, 0)
        port: int = probe.getsockname()[1]
        return port


def check_port(host: str, port: int) -> None:
    """Raises `BrokerProblem` when a broker could not listen here."""
    with _socket(host) as probe:
        _bind(probe, host, port)


def _socket(host: str) -> socket.socket:
    opened = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    # Connections that have ended must not make a port look taken.
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return opened


def _bind(probe: socket.socket, host: str, port: int) -> None:
    try:
        probe.bind((host, port))
    except socket.gaierror:
        raise BrokerProblem(
            f"'{host}' is no address of this machine; name one with --host"
        ) from None
    except OSError as error:
        raise BrokerProblem(_cannot_listen(host, port, error)) from None


def _cannot_listen(host: str, port: int, error: OSError) -> str:
    place = f"port {port} of {host or 'every address'}"
    if error.errno == errno.EADDRINUSE:
        return f"{place} is in use; stop what listens there, or choose another with --port (0 takes a free one)"
    if error.errno == errno.EACCES:
        return f"{place} is not for this account; choose one above 1023 with --port"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"'{host}' is no address of this machine; name one with --host"
    return f"cannot listen on {place}: {error.strerror}"
