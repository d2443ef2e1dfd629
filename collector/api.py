"""The HTTP interface: the enrollment status page, its profiles, devices, registrations and commands."""

from __future__ import annotations

import hmac
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Annotated, Any, Final, Protocol

from fastapi import APIRouter, Body, Depends, FastAPI, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from agent.wire.base import NAME_PATTERN, Name, UserName
from agent.wire.messages import CommandAction, RefreshAssignment, Status
from agent.wire.vocabulary import EnrollmentType, Variant
from collector import page
from collector.clock import Clock
from collector.commands import VALID_MINUTES, CommandRow, Commands, NoAttempt
from collector.database import StoreFailed
from collector.desk import Desk, ProfileExists
from collector.explanation import DeviceUnknown, Question, effective_profile
from collector.files import ContentRefused, check, deepest, dotted
from collector.metrics import Metrics
from collector.ports import BrokerLost, BrokerRefused
from collector.reports import RECENT_DAYS
from collector.setup import ProfileEntry, Registration
from collector.store import Store

PAGE_MAX: Final = 1_000
REGISTRATIONS_MAX: Final = 10_000

DeviceName = Annotated[str, Path(pattern=NAME_PATTERN, max_length=64)]


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
    """What the API answers from."""

    store: Store
    desk: Desk
    commands: Commands
    clock: Clock
    metrics: Metrics
    courier: Courier
    token: str
    speed: float = 1.0


class CommandRequest(BaseModel):
    """A command for the device's latest attempt."""

    model_config = ConfigDict(extra="forbid")

    action: CommandAction
    issued_by: Name = "api"
    valid_minutes: Annotated[int, Field(ge=1, le=7 * 24 * 60)] = VALID_MINUTES


class RegistrationRequest(BaseModel):
    """Devices to expect."""

    model_config = ConfigDict(extra="forbid")

    devices: Annotated[tuple[Registration, ...], Field(max_length=REGISTRATIONS_MAX)]


class Health(BaseModel):
    """Whether the collector does its work."""

    status: str
    partitions_online: int
    storing: bool


def services(request: Request) -> Services:
    """What this application answers from."""
    found = request.app.state.services
    assert isinstance(found, Services), "the application is made by make_app"
    return found


Given = Annotated[Services, Depends(services)]
_BEARER: Final = HTTPBearer(auto_error=False)


def authorized(
    given: Given, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]
) -> None:
    """Only whoever knows the token."""
    told = b"" if credentials is None else credentials.credentials.encode()
    if not hmac.compare_digest(told, given.token.encode()):
        raise HTTPException(
            401,
            "send the header 'Authorization: Bearer TOKEN' with the content of the token file",
            {"WWW-Authenticate": "Bearer"},
        )


_PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": page.ProblemAnswer} for status in (401, 404, 409, 422, 503)
}

api = APIRouter(prefix="/api", dependencies=[Depends(authorized)], responses=_PROBLEMS)


@api.get("/devices/enrollment-status", tags=["Enrollment status"])
def enrollment_status(given: Given) -> page.EnrollmentStatus:
    """The overview and enrollment by platform."""
    registered = [r.device for r in given.desk.registered()]
    return page.enrollment_status(given.store.attempts(), registered, given.clock.now_ms())


@api.get("/devices/enrollment-status/active", tags=["Enrollment status"])
def active(given: Given) -> page.ActiveEnrollments:
    """The enrollments in progress, the most recently begun first."""
    return page.active_enrollments(given.store.open_attempts(), given.clock.now_ms())


@api.get("/devices/enrollment-status/failures", tags=["Enrollment status"])
def failures(
    given: Given,
    window_days: Annotated[int, Query(ge=1, le=365)] = RECENT_DAYS,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = page.RECENT_FAILURES,
) -> page.EnrollmentFailures:
    """The devices that have failed now, and how often attempts failed in the window, by reason."""
    return page.enrollment_failures(
        given.store.attempts(), given.clock.now_ms(), window_days=window_days, limit=limit
    )


@api.get("/devices/esp-profiles", tags=["ESP profiles"])
def profiles(given: Given) -> page.ProfileList:
    """The ESP profiles, in the order in which they are looked at."""
    return page.profile_list(given.desk.profiles(), given.desk.catalogues())


@api.post("/devices/esp-profiles", status_code=201, tags=["ESP profiles"])
async def add_profile(
    given: Given, entry: Annotated[ProfileEntry, Body()], request: Request
) -> page.ProfileRow:
    """Create an ESP profile. A key that no profile has is refused, at any depth."""
    check(ProfileEntry, await request.json())
    stored = await run_in_threadpool(given.desk.add_profile, entry)
    catalogues = await run_in_threadpool(given.desk.catalogues)
    rows = page.profile_list([stored], catalogues).profiles
    return rows[0]


@api.get("/registrations", tags=["Registrations"])
def registrations(given: Given) -> page.Registrations:
    """The registered devices; those without an attempt are pending."""
    return page.Registrations(devices=tuple(given.desk.registered()))


@api.post("/registrations", status_code=201, tags=["Registrations"])
def register(given: Given, request: RegistrationRequest) -> page.Registrations:
    """Register devices; one that is registered already is updated."""
    given.desk.register(request.devices, given.clock.now_ms())
    return page.Registrations(devices=request.devices)


@api.get("/reports/stored", tags=["Audit"], response_class=StreamingResponse)
def stored(given: Given) -> StreamingResponse:
    """Every stored report and every recorded loss, one JSON object a line, to compare with the devices' journals."""
    return StreamingResponse(stored_lines(given.store), media_type="application/x-ndjson")


def stored_lines(store: Store) -> Iterator[str]:
    """Every stored report and every recorded loss, as lines of JSON."""
    for row in store.stored_rows():
        yield _line(
            record="report",
            device=row.device,
            stream=row.stream,
            seq=row.seq,
            digest=row.digest,
            times=row.times,
        )
    for loss in store.losses():
        yield _line(record="loss", **page.loss_line(loss).model_dump(mode="json"))


@api.get("/reports", tags=["History"], response_class=StreamingResponse)
def reports(given: Given) -> StreamingResponse:
    """Every stored report, one JSON object a line: device, stream, seq and the report itself."""
    return StreamingResponse(report_lines(given.store), media_type="application/x-ndjson")


def report_lines(store: Store) -> Iterator[str]:
    """Every stored report as lines of JSON, by device and in its order."""
    for device, stream, seq, report in store.reports():
        head = json.dumps({"device": device, "stream": stream, "seq": seq}, separators=(",", ":"))
        # The report is JSON already, and there may be millions of them.
        yield f'{head[:-1]},"report":{report}}}\n'


def _line(**fields: object) -> str:
    return json.dumps(fields, separators=(",", ":")) + "\n"


@api.get("/commands/{command}", tags=["Commands"])
def command(given: Given, command: str) -> page.CommandLine:
    """One command with what became of it."""
    row = given.commands.get(command)
    if row is None:
        raise HTTPException(404, f"there is no command '{command}'; check its id")
    return page.command_line(row, given.clock.wall_ms())


@api.post("/devices/{device}/commands", status_code=202, tags=["Commands"])
async def send_command(
    given: Given, device: DeviceName, request: CommandRequest
) -> page.CommandLine:
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
    return page.command_line(row, given.clock.wall_ms())


@api.get("/devices/{device}/screen", tags=["Devices"], response_class=StreamingResponse)
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


@api.get("/devices/{device}/effective-profile", tags=["ESP profiles"])
def explain_profile(
    given: Given,
    device: DeviceName,
    enrollment_type: EnrollmentType | None = None,
    variant: Variant | None = None,
    user: Annotated[UserName | None, Query()] = None,
    os_version: Annotated[Name | None, Query()] = None,
) -> page.EffectiveProfile:
    """Which profile the device would get now, why this one and not the others, and what of it acts there.

    What the request leaves out is taken from the device's latest attempt, else from its registration.
    """
    question = Question(
        device=device,
        enrollment_type=enrollment_type,
        variant=variant,
        user=user,
        os_version=os_version,
    )
    return effective_profile(question, given.desk.explain(question))


@api.get("/devices/{device}", tags=["Devices"])
def device_history(
    given: Given,
    device: DeviceName,
    limit: Annotated[int, Query(ge=0, le=PAGE_MAX)] = 200,
    before: Annotated[int | None, Query(ge=1)] = None,
) -> page.DeviceHistory:
    """Everything that is stored about one device; `before` takes an `order` to read on from."""
    attempts = given.store.device_attempts(device)
    registered = any(r.device == device for r in given.desk.registered())
    presence = given.store.device_presence(device)
    if not attempts and not registered and presence is None:
        raise HTTPException(404, f"nothing is known of '{device}'; check its id")
    lines = given.store.device_reports(device, limit=limit, before_order=before)
    now_ms, wall_ms = given.clock.now_ms(), given.clock.wall_ms()
    return page.DeviceHistory(
        device=device,
        presence=presence and presence[0],
        presence_at=presence and page.moment(presence[1]),
        registered=registered,
        attempts=tuple(page.attempt_summary(view, now_ms) for view in attempts),
        reports=tuple(page.report_line(seq, stored) for seq, stored in lines),
        losses=tuple(page.loss_line(row) for row in given.store.losses(device)),
        commands=tuple(page.command_line(c, wall_ms) for c in given.commands.of_device(device)),
    )


service = APIRouter(tags=["Service"])


@service.get("/health")
def health(given: Given, response: Response) -> Health:
    """200 while reports are taken in, 503 otherwise; open to everybody."""
    online, storing = given.courier.online_partitions, given.courier.is_storing
    if not (online and storing):
        response.status_code = 503
    return Health(
        status="ok" if response.status_code != 503 else "degraded",
        partitions_online=online,
        storing=storing,
    )


@service.get("/metrics", dependencies=[Depends(authorized)], response_class=Response)
def metrics(given: Given) -> Response:
    """The collector's own figures, for Prometheus."""
    return Response(given.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def make_app(given: Services | None) -> FastAPI:
    """The application; without services it can only describe itself."""
    app = FastAPI(
        title="Enrollment collector",
        version=version("enrollment-agent"),
        description="Enrollment status of a fleet, its ESP profiles, and commands to its devices.",
    )
    app.state.services = given
    app.include_router(api)
    app.include_router(service)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(ContentRefused, _content)
    app.add_exception_handler(ProfileExists, _exists)
    app.add_exception_handler(NoAttempt, _no_attempt)
    app.add_exception_handler(DeviceUnknown, _device_unknown)
    app.add_exception_handler(StoreFailed, _store_failed)
    return app


_CODES: Final = {401: "unauthorized", 404: "not_found", 405: "method_not_allowed"}


def _problem(
    status: int,
    code: str,
    message: str,
    key: str | None = None,
    headers: dict[str, str] | None = None,
) -> JSONResponse:
    answer = page.ProblemAnswer(error=page.Problem(code=code, message=message, key=key))
    return JSONResponse(answer.model_dump(mode="json"), status, headers)


def _invalid(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError), "registered for this exception"
    worst = deepest(error.errors())
    message = str(worst["msg"]).removeprefix("Value error, ")
    # The first part says where in the request it stands, which the reader knows.
    return _problem(422, "invalid", message, dotted(worst["loc"][1:]) or None)


def _http(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException), "registered for this exception"
    code = _CODES.get(error.status_code, "refused")
    headers = dict(error.headers) if error.headers else None
    return _problem(error.status_code, code, error.detail, headers=headers)


def _content(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ContentRefused), "registered for this exception"
    return _problem(422, "invalid", error.sentence, error.key or None)


def _exists(_request: Request, error: Exception) -> JSONResponse:
    return _problem(409, "exists", str(error), "id")


def _no_attempt(_request: Request, error: Exception) -> JSONResponse:
    return _problem(409, "no_attempt", str(error))


def _device_unknown(_request: Request, error: Exception) -> JSONResponse:
    return _problem(404, "not_found", str(error))


def _store_failed(_request: Request, _error: Exception) -> JSONResponse:
    return _problem(503, "store_failed", "the store can't be used now; try again later")
