"""Where a webhook may go: a URL is no way to make the collector ask addresses that its asker can't reach himself."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Awaitable[list[str]]]
URL_MAX: Final = 2_000
# Cloud providers answer with credentials here; the second one is no link-local address (AWS, IPv6).
_METADATA: Final = frozenset(
    ipaddress.ip_address(told) for told in ("169.254.169.254", "fd00:ec2::254", "100.100.100.200")
)


class TargetRefused(Exception):
    """This URL may not be asked: one sentence with the remedy."""


@dataclass(frozen=True, slots=True)
class Target:
    """A URL with the address that was judged, so that it is the one that is asked."""

    scheme: str
    host: str
    port: int
    path: str
    address: str

    @property
    def url(self) -> str:
        """The URL by address."""
        shown = f"[{self.address}]" if ":" in self.address else self.address
        return f"{self.scheme}://{shown}:{self.port}{self.path}"

    @property
    def host_header(self) -> str:
        """What the receiver is asked for."""
        shown = f"[{self.host}]" if ":" in self.host else self.host
        usual = {"https": 443, "http": 80}[self.scheme]
        return shown if self.port == usual else f"{shown}:{self.port}"


async def resolved(host: str, port: int) -> list[str]:
    """The addresses of a name. Raises `OSError`."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def parts_of(url: str) -> tuple[str, str, int, str]:
    """Scheme, host, port and path of a URL that could be a webhook's at all. Raises `TargetRefused`."""
    if len(url) > URL_MAX or not url.isascii() or not url.isprintable() or " " in url:
        raise TargetRefused(
            f"the URL has to be plain ASCII without spaces, and at most {URL_MAX} long"
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise TargetRefused("this is no URL; write https://HOST/PATH") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise TargetRefused("a webhook is an https URL; write https://HOST/PATH")
    if parts.username is not None or parts.fragment:
        raise TargetRefused(
            "leave user name, password and fragment out of the URL; it is signed instead"
        )
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return parts.scheme, parts.hostname, port or (443 if parts.scheme == "https" else 80), path


async def target_of(url: str, *, allow_private: bool, resolve: Resolve = resolved) -> Target:
    """The address to ask, judged: https, or http on this machine; never link-local, metadata or multicast.

    `allow_private` lets http and every address but multicast pass, where an administrator said so.

    Raises:
        TargetRefused: the URL may not be asked, or its name has no address.
    """
    scheme, host, port, path = parts_of(url)
    try:
        addresses = await resolve(host, port)
    except OSError:
        raise TargetRefused(f"the name '{host}' has no address; check the URL") from None
    # One bad address is enough: whoever answers for the name chooses which one comes first.
    judged = [_judged(told, scheme, allow_private=allow_private) for told in addresses]
    if not judged:
        raise TargetRefused(f"the name '{host}' has no address; check the URL")
    return Target(scheme, host, port, path, judged[0])


def _judged(told: str, scheme: str, *, allow_private: bool) -> str:
    address: Address = ipaddress.ip_address(told.partition("%")[0])
    plain = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    meant: Address = plain or address
    if meant.is_multicast or meant.is_unspecified:
        raise TargetRefused(f"{told} is nobody's address; check the URL")
    if allow_private:
        return told
    if meant.is_link_local or meant in _METADATA:
        raise TargetRefused(
            f"{told} is a link-local or metadata address; allow it with --allow-any-address if it is meant"
        )
    if scheme == "http" and not meant.is_loopback:
        raise TargetRefused(
            "http is for this machine only; use https, or --allow-any-address if unencrypted is meant"
        )
    return told
