"""The devices that are expected."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from collector.access import Role
from collector.api import examples
from collector.api.conditional import tagged
from collector.api.links import link_next
from collector.api.parameters import Listed, Platforms, SearchedDevice, SearchedUser
from collector.api.problems import ALWAYS
from collector.api.services import Given, needs
from collector.pages import history
from collector.profiles.setup import Registration
from collector.queries.attempts import waiting_devices
from collector.queries.paging import sliced

REGISTRATIONS_MAX = 10_000

router = APIRouter(
    prefix="/api/registrations",
    tags=["Registrations"],
    dependencies=[needs(Role.READ)],
    responses=ALWAYS,
)


class RegistrationRequest(BaseModel):
    """Devices to expect."""

    model_config = ConfigDict(extra="forbid")

    devices: Annotated[tuple[Registration, ...], Field(max_length=REGISTRATIONS_MAX)]


class RegistrationsQuery(Listed):
    """Which registrations; they are sorted by device."""

    platform: Platforms = ()
    user: SearchedUser | None = None
    device: SearchedDevice | None = None
    pending: Annotated[
        bool | None, Field(description="Only those that have not begun, or only those that have.")
    ] = None
    limit: Annotated[int, Field(ge=1, le=REGISTRATIONS_MAX)] = REGISTRATIONS_MAX


@router.get("")
def registrations(
    given: Given,
    asked: Annotated[RegistrationsQuery, Query()],
    request: Request,
    response: Response,
) -> history.Registrations:
    """The registered devices; those without an attempt are pending."""
    rows = [row for row in given.desk.registered() if _is_wanted(row, asked)]
    if asked.pending is not None:
        waiting = waiting_devices(given.store.database)
        rows = [row for row in rows if (row.device in waiting) is asked.pending]
    found = sliced(rows, "device", lambda row: row.device, asked.limit, asked.cursor)
    link_next(request, response, found.next_cursor)
    answer = history.Registrations(
        devices=found.rows, total=found.total, next_cursor=found.next_cursor
    )
    return tagged(request, response, answer)


def _is_wanted(row: Registration, asked: RegistrationsQuery) -> bool:
    if asked.platform and row.enrollment_type not in asked.platform:
        return False
    if asked.user is not None and (row.user or "").casefold() != asked.user.casefold():
        return False
    return asked.device is None or row.device.startswith(asked.device)


@router.post("", status_code=201, dependencies=[needs(Role.HELPDESK)])
def register(
    given: Given,
    request: Annotated[RegistrationRequest, Body(openapi_examples=examples.REGISTRATIONS)],
) -> history.Registrations:
    """Register devices; one that is registered already is updated."""
    given.desk.register(request.devices, given.clock.now_ms())
    return history.Registrations(devices=request.devices, total=len(request.devices))
