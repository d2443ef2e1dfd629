"""One device: everything that is stored about it, its screen, and commands to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Body, Query
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from agent.wire.base import Name
from agent.wire.messages import CommandAction, RefreshAssignment
from collector.access import Role
from collector.answer import moment
from collector.api import examples
from collector.api.parameters import PAGE_MAX
from collector.api.problems import ALWAYS, answers
from collector.api.services import DeviceName, Given, Services, needs
from collector.api.stored_reports import LINES
from collector.device_commands import VALID_MINUTES
from collector.pages import history
from collector.queries.attempts import is_registered
from collector.subscriber.ports import BrokerLost, BrokerRefused

ORDER_MAX = 2**53

router = APIRouter(prefix="/api", dependencies=[needs(Role.READ)], responses=ALWAYS)


class CommandRequest(BaseModel):
    """A command for the device's latest attempt."""

    model_config = ConfigDict(extra="forbid")

    action: CommandAction
    issued_by: Name = "api"
    valid_minutes: Annotated[int, Field(ge=1, le=7 * 24 * 60)] = VALID_MINUTES


@router.get("/commands/{command}", tags=["Commands"], responses=answers(404))
def command(given: Given, command: Annotated[str, Field(max_length=128)]) -> history.CommandLine:
    """One command with what became of it."""
    row = given.commands.get(command) if command.isprintable() else None
    if row is None:
        raise HTTPException(404, "there is no such command; check its id")
    return history.command_line(row, given.clock.wall_ms())


@router.post(
    "/devices/{device}/commands",
    status_code=202,
    tags=["Commands"],
    dependencies=[needs(Role.HELPDESK)],
    responses=answers(409),
)
async def send_command(
    given: Given,
    device: DeviceName,
    request: Annotated[CommandRequest, Body(openapi_examples=examples.COMMANDS)],
) -> history.CommandLine:
    """Send a command to the device's latest attempt; ask for it again to see what became of it."""
    row = await run_in_threadpool(
        given.commands.create,
        device,
        request.action,
        issued_by=request.issued_by,
        wall_ms=given.clock.wall_ms(),
        valid_minutes=request.valid_minutes,
        speed=given.speed,
    )
    if isinstance(request.action, RefreshAssignment):
        await given.courier.reassign(row.device, row.attempt)
    await given.courier.send(row)
    return history.command_line(row, given.clock.wall_ms())


@router.get(
    "/devices/{device}/screen", tags=["Devices"], response_class=StreamingResponse, responses=LINES
)
async def screen(given: Given, device: DeviceName) -> StreamingResponse:
    """The device's status as it changes, one JSON object a line, until the connection is closed."""
    return StreamingResponse(_screen_lines(given, device), media_type="application/x-ndjson")


async def _screen_lines(given: Services, device: str) -> AsyncIterator[bytes]:
    try:
        async for status in given.courier.statuses(device):
            yield status.model_dump_json().encode() + b"\n"
    except (BrokerLost, BrokerRefused):
        # The answer has begun, so its end is what tells the reader.
        return


@router.get("/devices/{device}", tags=["Devices"], responses=answers(404))
def device_history(
    given: Given,
    device: DeviceName,
    limit: Annotated[int, Query(ge=0, le=PAGE_MAX)] = 200,
    before: Annotated[int | None, Query(ge=1, le=ORDER_MAX)] = None,
) -> history.DeviceHistory:
    """Everything that is stored about one device; `before` takes an `order` to read on from."""
    attempts = given.store.device_attempts(device)
    registered = is_registered(given.store.database, device)
    presence = given.store.device_presence(device)
    if not attempts and not registered and presence is None:
        raise HTTPException(404, f"nothing is known of '{device}'; check its id")
    lines = given.store.device_reports(device, limit=limit, before_order=before)
    now_ms, wall_ms = given.clock.now_ms(), given.clock.wall_ms()
    return history.DeviceHistory(
        device=device,
        presence=presence and presence[0],
        presence_at=presence and moment(presence[1]),
        registered=registered,
        attempts=tuple(history.attempt_summary(view, now_ms) for view in attempts),
        reports=tuple(history.report_line(seq, stored) for seq, stored in lines),
        losses=tuple(history.loss_line(row) for row in given.store.losses(device)),
        commands=tuple(history.command_line(c, wall_ms) for c in given.commands.of_device(device)),
    )
