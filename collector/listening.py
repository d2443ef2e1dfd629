"""Where the API listens, and by what it is protected there."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class CannotListen(Exception):
    """The API can't be served there, or not so: one sentence with the remedy."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files. With `client_ca` only clients with a certificate of that authority get as far as their token."""

    certificate: Path
    key: Path | None = None
    """None where the certificate's file holds the key too."""
    client_ca: Path | None = None

    @classmethod
    def of(
        cls, certificate: Path | None, key: Path | None, client_ca: Path | None
    ) -> TlsFiles | None:
        """From options; None when none of them is given.

        Raises:
            CannotListen: a key or an authority without a certificate, or files that can't be used.
        """
        if certificate is None:
            if key is not None or client_ca is not None:
                raise CannotListen("--tls-certificate is missing; give the server's certificate")
            return None
        files = cls(certificate, key, client_ca)
        files._check()
        return files

    def _check(self) -> None:
        try:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            # A key behind a password would have the program wait for somebody to type it.
            context.load_cert_chain(self.certificate, self.key, password=_no_password)
        except (OSError, ValueError) as error:
            raise CannotListen(
                f"--tls-certificate {self.certificate}: can't be used ({_reason(error)}); "
                "give a PEM certificate and, as --tls-key, its key without a password"
            ) from None
        if self.client_ca is not None:
            try:
                context.load_verify_locations(self.client_ca)
            except OSError as error:
                raise CannotListen(
                    f"--tls-client-ca {self.client_ca}: can't be used ({_reason(error)}); "
                    "give the PEM certificates that sign the clients' ones"
                ) from None

    @property
    def server_options(self) -> dict[str, Any]:
        """What the server takes."""
        return {
            "ssl_certfile": self.certificate,
            "ssl_keyfile": self.key,
            "ssl_ca_certs": None if self.client_ca is None else str(self.client_ca),
            "ssl_cert_reqs": ssl.CERT_NONE if self.client_ca is None else ssl.CERT_REQUIRED,
        }


def _no_password() -> str:
    raise ValueError("the key has a password")


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def check_host(host: str, tls: TlsFiles | None, *, allow_plain_http: bool) -> None:
    """Refuse to send tokens in the clear beyond this machine, unless somebody says that it is all right.

    Raises:
        CannotListen: the address can be reached from elsewhere, and there is no certificate.
    """
    if tls is None and not allow_plain_http and not is_loopback(host):
        raise CannotListen(
            f"--host {host} can be reached from other machines, and without TLS everybody on the way reads the tokens; "
            "give --tls-certificate, listen on 127.0.0.1 behind a proxy, or say --allow-plain-http"
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listen(host: str, port: int) -> socket.socket:
    """An open socket; port 0 takes a free one.

    Raises:
        CannotListen: the address is taken, or not of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise CannotListen(
            f"can't listen on {host}:{port} ({error.strerror}); choose another --port, or 0 for a free one"
        ) from None
    listener.listen(128)
    return listener


def url_of(listener: socket.socket, tls: TlsFiles | None) -> str:
    """The address that a client gives."""
    host, port = listener.getsockname()[:2]
    scheme = "http" if tls is None else "https"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
