"""What an operator decided for one broker: few facts, kept beside the files that are made from them."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from agent.wire.base import Tenant

DEVICE_PORT = 8883
DEVELOPMENT_PORT = 1883
LOOPBACK = "127.0.0.1"

Port = Annotated[int, Field(ge=1, le=65_535)]
Host = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z._:-]+$", max_length=253)]


class BrokerSettings(BaseModel):
    """The content of `broker.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[2] = 2
    tenant: Tenant = "default"
    host: Host = LOOPBACK
    """The name or address that devices connect to; it stands in the server's certificate."""
    port: Port = DEVICE_PORT
    """For devices."""
    service_host: Host = LOOPBACK
    """The name or address that collector and help desk connect to."""
    service_port: Port = DEVICE_PORT + 1
    """For collector and help desk."""
    development: bool = False

    @model_validator(mode="after")
    def _safe_and_distinct(self) -> BrokerSettings:
        if self.port == self.service_port:
            raise ValueError(
                "port and service_port are the same; devices and services need one each"
            )
        if self.development and not is_loopback(self.host):
            raise ValueError(
                f"a development broker lets anybody in, so it listens on loopback only and not on {self.host}; "
                "leave --host out, or leave --development out"
            )
        return self

    @property
    def url(self) -> str:
        """Where devices find the broker."""
        return broker_url(self.host, self.port, is_tls=not self.development)

    @property
    def service_url(self) -> str:
        """Where collector and help desk find it."""
        if self.development:
            return self.url
        return broker_url(self.service_host, self.service_port, is_tls=True)

    @property
    def server_names(self) -> tuple[str, ...]:
        """What the server's certificate answers for; a program on the broker's own machine may use loopback."""
        return tuple(dict.fromkeys((self.host, self.service_host, LOOPBACK, "localhost")))


def broker_url(host: str, port: int, *, is_tls: bool = False) -> str:
    """A broker's URL; an IPv6 address gets its brackets."""
    name = f"[{host}]" if ":" in host else host
    return f"{'mqtts' if is_tls else 'mqtt'}://{name}:{port}"


def is_loopback(host: str) -> bool:
    """Whether only programs on this machine reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def bound_address(host: str) -> str:
    """What a listener for this name binds to: loopback stays what it is, all else is for every address."""
    return host if is_loopback(host) else ""
