"""What an operator decided for one broker: few facts, kept beside the files that are made from them."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from agent.wire.base import Tenant

DEVICE_PORT = 1883
LOOPBACK = "127.0.0.1"

Port = Annotated[int, Field(ge=1, le=65_535)]


class BrokerSettings(BaseModel):
    """The content of `broker.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    tenant: Tenant = "default"
    host: str = LOOPBACK
    """The address that devices connect to."""
    port: Port = DEVICE_PORT
    """For devices."""
    service_port: Port = DEVICE_PORT + 1
    """For collector and help desk; always on loopback."""
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
        return broker_url(self.host, self.port)

    @property
    def service_url(self) -> str:
        """Where collector and help desk find it."""
        return self.url if self.development else broker_url(LOOPBACK, self.service_port)


def broker_url(host: str, port: int) -> str:
    """A broker's URL; an IPv6 address gets its brackets."""
    return f"mqtt://[{host}]:{port}" if ":" in host else f"mqtt://{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether only programs on this machine reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
