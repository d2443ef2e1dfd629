"""What the API answers from, and who is asking."""

from __future__ import annotations

import hmac
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Protocol

import structlog
from fastapi import Depends, Path, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes
from starlette.exceptions import HTTPException

from agent.wire.base import NAME_PATTERN
from agent.wire.messages import Status
from collector.access import Caller, Role, Tokens, file_caller
from collector.api.throttle import RequestLimits, Throttle
from collector.clock import Clock
from collector.desk import Desk
from collector.device_commands import CommandRow, Commands
from collector.metrics import Metrics
from collector.store.store import Store

LOG = structlog.get_logger("collector.api")

DeviceName = Annotated[str, Path(pattern=NAME_PATTERN, max_length=64, examples=["DESKTOP-NEW001"])]


class Courier(Protocol):
    """The way to the devices."""

    @property
    def online_partitions(self) -> int:
        """How many partitions are connected."""
        ...

    @property
    def is_storing(self) -> bool:
        """False while the database refuses what arrives."""
        ...

    async def send(self, command: CommandRow) -> None:
        """Sign and publish a command; with no connection it goes out when there is one."""
        ...

    async def reassign(self, device: str, attempt: str) -> None:
        """Choose profile and items anew for an open attempt and publish the result."""
        ...

    def statuses(self, device: str) -> AsyncIterator[Status]:
        """The device's screen, live. Raises `BrokerLost` and `BrokerRefused`."""
        ...


@dataclass(frozen=True, slots=True)
class Services:
    """What the API answers from. `token` is the one of the token file, which may do everything."""

    store: Store
    desk: Desk
    commands: Commands
    clock: Clock
    metrics: Metrics
    courier: Courier
    token: str
    speed: float = 1.0
    limits: RequestLimits = field(default_factory=RequestLimits)


@dataclass(frozen=True, slots=True)
class Doors:
    """What decides on who gets in; made once for an application."""

    tokens: Tokens
    throttle: Throttle


def services(request: Request) -> Services:
    """What this application answers from."""
    found = request.app.state.services
    assert isinstance(found, Services), "the application is made by make_app"
    return found


def doors(request: Request) -> Doors:
    """What decides on who gets in."""
    found = request.app.state.doors
    assert isinstance(found, Doors), "the application is made by make_app"
    return found


Given = Annotated[Services, Depends(services)]

_BEARER: Final = HTTPBearer(
    auto_error=False,
    scheme_name="token",
    description=(
        "The content of DATA/token, or a token from `esp-collector token create`. "
        "Its role is read, helpdesk or admin; each may do all that the ones before it may."
    ),
)


def authorized(
    scopes: SecurityScopes,
    request: Request,
    given: Given,
    door: Annotated[Doors, Depends(doors)],
    shown: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)],
) -> Caller:
    """Only whoever shows a token whose role is enough, and does not ask too often."""
    caller = None if shown is None else _caller(given, door.tokens, shown.credentials)
    if caller is None:
        raise _refused(request, door)
    wait_s = door.throttle.admit(caller.id)
    if wait_s is not None:
        raise _too_often(f"token '{caller.name}' asks too often", wait_s)
    needed = Role(scopes.scopes[-1])
    if not caller.role.allows(needed):
        LOG.warning(
            "refused: the token's role is not enough",
            token=caller.name,
            role=caller.role.value,
            method=request.method,
            path=request.url.path[:200],
        )
        raise HTTPException(
            403,
            f"token '{caller.name}' has the role {caller.role.value} and this needs {needed.value}; use another token",
        )
    if needed is not Role.READ:
        LOG.info("asked", token=caller.name, method=request.method, path=request.url.path[:200])
    return caller


def _caller(given: Services, tokens: Tokens, told: str) -> Caller | None:
    if hmac.compare_digest(told.encode("utf-8", "surrogatepass"), given.token.encode()):
        return file_caller()
    return tokens.caller(told, given.clock.wall_ms())


def _refused(request: Request, door: Doors) -> HTTPException:
    address = request.client.host if request.client is not None else "unknown"
    wait_s = door.throttle.count_refusal(address)
    if wait_s is not None:
        # Not logged one by one: whoever floods the collector is not to fill its disk as well.
        return _too_often("too many requests without a good token came from this address", wait_s)
    LOG.warning(
        "refused: no good token",
        address=address,
        method=request.method,
        path=request.url.path[:200],
    )
    return HTTPException(
        401,
        "send the header 'Authorization: Bearer TOKEN' with the content of the token file, or with a token of yours",
        {"WWW-Authenticate": "Bearer"},
    )


def _too_often(what: str, wait_s: int) -> HTTPException:
    return HTTPException(429, f"{what}; wait {wait_s} seconds", {"Retry-After": str(wait_s)})


def needs(role: Role) -> Any:
    """The dependency of whatever this role is needed for."""
    return Security(authorized, scopes=[role.value])
