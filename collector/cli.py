"""`esp-collector`: serves the collector, and asks a running one."""

from __future__ import annotations

import asyncio
import getpass
import json
import logging
import sys
from collections.abc import Awaitable, Callable, Coroutine
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn, TypeVar

import structlog
import typer
from pydantic import TypeAdapter, ValidationError

from agent.wire.base import NAME_PATTERN, DeviceId, Tenant
from agent.wire.codec import PayloadRefused, decode
from agent.wire.graph import GraphRefused, profile_to_graph
from agent.wire.identity import ServiceIdentity
from agent.wire.messages import (
    CollectLogs,
    CommandAction,
    ContinueAnyway,
    ExtendTimeout,
    RefreshAssignment,
    ResetDevice,
    RetryItem,
    RetryPhase,
    SkipAccountSetup,
)
from agent.wire.vocabulary import Context, EnrollmentType, Variant
from collector import text
from collector.api import make_app, report_lines, stored_lines
from collector.client import Access, Collector, CollectorRefused, CollectorUnreachable, connected
from collector.database import StoreFailed
from collector.files import ContentRefused, FileRefused, check, load, load_json, load_rows
from collector.janitor import CLEAR_AFTER_HOURS
from collector.keys import KeyRefused, load_or_make
from collector.mqtt import BrokerAddress, UrlRefused
from collector.page import ProfileRow
from collector.service import CannotServe, ServeSettings, database_url, serve
from collector.setup import ProfileEntry, Registration, Setup, entry_from_graph
from collector.store import Store

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2

T = TypeVar("T")

app = typer.Typer(
    name="esp-collector",
    help="Receives enrollment reports over MQTT, stores them, and answers the enrollment status page.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
profile_app = typer.Typer(
    help="List, show, explain, add, import and export ESP profiles.", no_args_is_help=True
)
app.add_typer(profile_app, name="profile")

Data = Annotated[Path, typer.Option(help="The data directory: store, token and signing key.")]
Url = Annotated[
    str | None,
    typer.Option(help="The collector's address, as `serve` printed it; or $ESP_COLLECTOR_URL."),
]
TokenFile = Annotated[
    Path | None, typer.Option(help="The file DATA/token; or $ESP_COLLECTOR_TOKEN_FILE.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def _print(line: str) -> None:
    typer.echo(line)


def _fail(sentence: object, code: int) -> NoReturn:
    typer.echo(f"esp-collector: {sentence}", err=True)
    raise typer.Exit(code)


def _show_version(*, wanted: bool) -> None:
    if wanted:
        _print(f"esp-collector {version('enrollment-agent')}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    show_version: Annotated[
        bool,
        typer.Option("--version", callback=lambda v: _show_version(wanted=v), is_eager=True),
    ] = False,
) -> None:
    """Receives enrollment reports over MQTT, stores them, and answers the enrollment status page."""


@app.command("serve")
def serve_command(
    data: Data,
    broker: Annotated[str | None, typer.Option(help="mqtt://HOST:PORT")] = None,
    tenant: Annotated[str | None, typer.Option(help="The tenant in the topics.")] = None,
    identity: Annotated[
        Path | None,
        typer.Option(help="The collector's account at the broker, written by `esp-broker init`."),
    ] = None,
    host: Annotated[str, typer.Option(help="The address that the API listens on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0 takes a free one.")] = 8080,
    database: Annotated[
        str | None, typer.Option(help="A database URL; a SQLite file in the data directory else.")
    ] = None,
    setup: Annotated[
        Path | None,
        typer.Option(help="Profiles, items, groups and rules to begin with (TOML or JSON)."),
    ] = None,
    speed: Annotated[
        float,
        typer.Option(min=0.001, max=1e6, help="How much faster than real time the fleet runs."),
    ] = 1.0,
    clear_after_hours: Annotated[
        int,
        typer.Option(
            min=1, help="How long the broker keeps what it has of a device after its last end."
        ),
    ] = CLEAR_AFTER_HOURS,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Serve until SIGINT or SIGTERM.

    Prints one line, `ready URL`, once the API answers and all partitions are subscribed to; logs go to stderr.

    Example: esp-collector serve --data ./collector --broker mqtt://127.0.0.1:1883 --tenant default
    """
    _configure_logs(log_level)
    try:
        account = None if identity is None else _read_identity(identity)
        settings = ServeSettings(
            data=data,
            broker=_broker(broker, account),
            tenant=_tenant(tenant, account),
            host=host,
            port=port,
            database=database,
            setup=None if setup is None else load(setup, Setup),
            speed=speed,
            clear_after_hours=clear_after_hours,
        )
        _run(serve(settings, lambda url: print(f"ready {url}", flush=True)))  # noqa: T201
    except (FileRefused, UrlRefused, CannotServe, KeyRefused) as refused:
        _fail(refused, EXIT_USAGE)
    except StoreFailed as failed:
        _fail(failed, EXIT_USAGE)
    except OSError as error:
        _fail(
            f"--data {data}: can't be used ({error.strerror}); choose a directory to write to",
            EXIT_USAGE,
        )


def _read_identity(path: Path) -> ServiceIdentity:
    try:
        return decode(ServiceIdentity, path.read_bytes())
    except OSError as error:
        raise FileRefused(f"{path}: can't be read ({error.strerror}); check --identity") from None
    except PayloadRefused as refused:
        raise FileRefused(
            f"{path}: {refused}; give the collector's file that `esp-broker init` wrote"
        ) from None


def _broker(url: str | None, account: ServiceIdentity | None) -> BrokerAddress:
    if account is not None:
        return BrokerAddress.of(url or account.broker, account.username, account.password)
    if url is None:
        raise UrlRefused("no broker was named; give --broker mqtt://HOST:PORT, or --identity FILE")
    return BrokerAddress.of(url)


def _tenant(tenant: str | None, account: ServiceIdentity | None) -> str:
    name = tenant or (account.tenant if account is not None else "default")
    try:
        return TypeAdapter[str](Tenant).validate_python(name)
    except ValidationError:
        raise UrlRefused(
            f"--tenant '{name}' can't stand in a topic; use letters, digits and . _ - in between"
        ) from None


def _run(main: Coroutine[Any, Any, T]) -> T:
    """On uvloop where it is installed: a thousand devices are then half the work."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)


def _configure_logs(level: str) -> None:
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        _fail(f"--log-level '{level}' is none; use debug, info, warning or error", EXIT_USAGE)
    terminal = sys.stderr.isatty()
    renderer: Any = (
        structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
    logging.basicConfig(level=max(number, logging.WARNING), stream=sys.stderr)


@app.command()
def board(url: Url = None, token_file: TokenFile = None) -> None:
    """The enrollment status page in the terminal, live; Enter opens a device's screen.

    Example: esp-collector board --url http://127.0.0.1:8080 --token-file ./collector/token
    """
    from collector.board.run import run_board

    try:
        asyncio.run(run_board(Access.of(url, token_file)))
    except CollectorUnreachable as problem:
        _fail(problem, EXIT_USAGE)


@app.command()
def report(url: Url = None, token_file: TokenFile = None, *, as_json: Json = False) -> None:
    """The enrollment status page as text.

    Example: esp-collector report --url http://127.0.0.1:8080 --token-file ./collector/token
    """

    async def ask(collector: Collector) -> None:
        status, active = await collector.status(), await collector.active()
        failures, profiles = await collector.failures(), await collector.profiles()
        if as_json:
            whole = {
                "enrollment_status": status.model_dump(mode="json"),
                "active": active.model_dump(mode="json"),
                "failures": failures.model_dump(mode="json"),
                "esp_profiles": profiles.model_dump(mode="json"),
            }
            _print(json.dumps(whole))
        else:
            typer.echo(text.status_page(status, active, failures, profiles), nl=False)

    _ask(url, token_file, ask)


@profile_app.command("list")
def profile_list(url: Url = None, token_file: TokenFile = None, *, as_json: Json = False) -> None:
    """The ESP profiles, in the order in which they are looked at."""

    async def ask(collector: Collector) -> None:
        profiles = await collector.profiles()
        _print(profiles.model_dump_json() if as_json else "\n".join(text.profile_lines(profiles)))

    _ask(url, token_file, ask)


@profile_app.command("show")
def profile_show(profile: str, url: Url = None, token_file: TokenFile = None) -> None:
    """Every setting of one profile, as JSON. PROFILE is its id or its name."""

    async def ask(collector: Collector) -> None:
        _print((await _find(collector, profile)).model_dump_json(indent=2))

    _ask(url, token_file, ask)


async def _find(collector: Collector, profile: str) -> ProfileRow:
    rows = (await collector.profiles()).profiles
    found = [row for row in rows if profile in (row.id, row.name)]
    if not found:
        known = ", ".join(row.id for row in rows) or "none"
        _fail(f"there is no profile '{profile}'; use one of: {known}", EXIT_USAGE)
    return found[0]


@profile_app.command("add")
def profile_add(file: Path, url: Url = None, token_file: TokenFile = None) -> None:
    """Create a profile from a TOML or JSON file."""

    async def ask(collector: Collector) -> None:
        row = await collector.add_profile(load(file, ProfileEntry))
        _print(f"added {row.id} with priority {row.priority}")

    _ask(url, token_file, ask)


@profile_app.command("import")
def profile_import(
    file: Path,
    group: Annotated[
        list[str] | None,
        typer.Option(help="A group that the profile is assigned to; may be given several times."),
    ] = None,
    url: Url = None,
    token_file: TokenFile = None,
) -> None:
    """Create a profile from the JSON of Microsoft Graph's windows10EnrollmentCompletionPageConfiguration.

    It keeps its priority. Graph names groups by ids that are not known here, so say again whom it is assigned to.

    Example: esp-collector profile import esp.json --group "All Devices"
    """

    async def ask(collector: Collector) -> None:
        row = await collector.add_profile(_graph_entry(file, tuple(group or ())))
        _print(f"added {row.id} with priority {row.priority}")

    _ask(url, token_file, ask)


def _graph_entry(file: Path, groups: tuple[str, ...]) -> ProfileEntry:
    try:
        return check(ProfileEntry, entry_from_graph(load_json(file), groups))
    except (GraphRefused, ContentRefused) as refused:
        raise FileRefused(f"{file}: {refused}") from None


@profile_app.command("explain")
def profile_explain(
    device: str,
    user: Annotated[str | None, typer.Option(help="Who would enroll it.")] = None,
    enrollment_type: Annotated[
        EnrollmentType | None, typer.Option("--type", help="How it would enroll.")
    ] = None,
    variant: Annotated[
        Variant | None, typer.Option(help="The variant of the enrollment type.")
    ] = None,
    os_version: Annotated[
        str | None, typer.Option(help="The full version, such as 10.0.22631.")
    ] = None,
    url: Url = None,
    token_file: TokenFile = None,
    *,
    as_json: Json = False,
) -> None:
    """Which profile DEVICE would get now, why this one and not the others, and what of it acts there.

    What no option says is taken from the device's latest attempt, or from its registration. A device that has not
    come yet needs --type.

    Example: esp-collector profile explain DESKTOP-NEW001 --user jane.smith@company.com
    """
    _check_device(device)
    asked = {
        "user": user,
        "enrollment_type": enrollment_type and enrollment_type.value,
        "variant": variant and variant.value,
        "os_version": os_version,
    }

    async def ask(collector: Collector) -> None:
        given = {name: value for name, value in asked.items() if value is not None}
        answer = await collector.effective_profile(device, given)
        lines = text.effective_profile_lines(answer)
        _print(answer.model_dump_json() if as_json else "\n".join(lines))

    _ask(url, token_file, ask)


def _check_device(device: str) -> None:
    try:
        TypeAdapter[str](DeviceId).validate_python(device)
    except ValidationError:
        _fail(f"'{device}' is no device id (it has to match {NAME_PATTERN})", EXIT_USAGE)


@profile_app.command("export")
def profile_export(profile: str, url: Url = None, token_file: TokenFile = None) -> None:
    """One profile as the JSON that Microsoft Graph has for it. PROFILE is its id or its name.

    An imported profile comes back with everything that it had.
    """

    async def ask(collector: Collector) -> None:
        row = await _find(collector, profile)
        try:
            _print(json.dumps(profile_to_graph(row.settings), indent=2))
        except GraphRefused as refused:
            _fail(f"profile '{row.id}': {refused}", EXIT_USAGE)

    _ask(url, token_file, ask)


@app.command()
def register(file: Path, url: Url = None, token_file: TokenFile = None) -> None:
    """Register the devices of a CSV file, which are pending until they begin to enroll.

    Its columns: device, and if wanted enrollment_type, user, group.
    """
    columns = sorted(Registration.model_fields)

    async def ask(collector: Collector) -> None:
        rows = load_rows(file, Registration, columns)
        _print(f"registered {await collector.register(rows)} devices")

    _ask(url, token_file, ask)


class Action(StrEnum):
    """The commands by name."""

    RETRY_PHASE = "retry-phase"
    RETRY_ITEM = "retry-item"
    CONTINUE_ANYWAY = "continue-anyway"
    RESET_DEVICE = "reset-device"
    SKIP_ACCOUNT_SETUP = "skip-account-setup"
    EXTEND_TIMEOUT = "extend-timeout"
    COLLECT_LOGS = "collect-logs"
    REFRESH_ASSIGNMENT = "refresh-assignment"


@app.command()
def command(
    device: str,
    action: Action,
    item: Annotated[str | None, typer.Option(help="For retry-item: the item's id.")] = None,
    minutes: Annotated[
        int | None, typer.Option(min=1, max=1440, help="For extend-timeout.")
    ] = None,
    context: Annotated[Context, typer.Option(help="For extend-timeout.")] = Context.DEVICE,
    url: Url = None,
    token_file: TokenFile = None,
    *,
    as_json: Json = False,
) -> None:
    """Send a command to a device's latest attempt.

    Example: esp-collector command DESKTOP-NEW001 extend-timeout --minutes 30
    """
    wanted = _action(action, item, minutes, context)
    _check_device(device)

    async def ask(collector: Collector) -> None:
        line = await collector.send(device, wanted, getpass.getuser())
        _print(line.model_dump_json() if as_json else f"sent {line.id} to {device}")

    _ask(url, token_file, ask)


def _action(
    action: Action, item: str | None, minutes: int | None, context: Context
) -> CommandAction:
    match action:
        case Action.RETRY_PHASE:
            return RetryPhase()
        case Action.RETRY_ITEM if item is not None:
            return RetryItem(item=item)
        case Action.RETRY_ITEM:
            _fail("retry-item needs --item with the item's id", EXIT_USAGE)
        case Action.CONTINUE_ANYWAY:
            return ContinueAnyway()
        case Action.RESET_DEVICE:
            return ResetDevice()
        case Action.SKIP_ACCOUNT_SETUP:
            return SkipAccountSetup()
        case Action.EXTEND_TIMEOUT if minutes is not None:
            return ExtendTimeout(context=context, minutes=minutes)
        case Action.EXTEND_TIMEOUT:
            _fail("extend-timeout needs --minutes", EXIT_USAGE)
        case Action.COLLECT_LOGS:
            return CollectLogs()
        case Action.REFRESH_ASSIGNMENT:
            return RefreshAssignment()


@app.command()
def openapi() -> None:
    """The API as an OpenAPI document."""
    _print(json.dumps(make_app(None).openapi(), indent=2))


@app.command()
def key(data: Data) -> None:
    """The public key that devices trust, as an identity file carries it; made when there is none yet."""
    try:
        _print(load_or_make(data / "keys").trusted_key.model_dump_json(indent=2))
    except KeyRefused as refused:
        _fail(refused, EXIT_USAGE)
    except OSError as error:
        _fail(f"{data}: can't be used ({error.strerror}); check --data", EXIT_USAGE)


@app.command()
def export(
    data: Data,
    database: Annotated[
        str | None, typer.Option(help="A database URL; the SQLite file in the data directory else.")
    ] = None,
    *,
    reports: Annotated[
        bool,
        typer.Option("--reports", help="The reports themselves, as `esp-sim fit` reads them."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Every stored report and every recorded loss with its digest, one JSON object a line.

    With --reports it is the history: device, stream, seq and report. It names devices and users, as the reports do.

    Example: esp-collector export --data ./collector --reports > reports.jsonl
    """
    del as_json  # There is no other form; the option is there because every other command has it.
    path = data / "store.sqlite"
    if database is None and not path.exists():
        _fail(f"{path}: there is no store; check --data", EXIT_USAGE)
    try:
        store = Store(database or database_url(data), now_ms=0)
        try:
            for line in report_lines(store) if reports else stored_lines(store):
                typer.echo(line, nl=False)
        finally:
            store.close()
    except StoreFailed as failed:
        _fail(failed, EXIT_USAGE)


def _ask(
    url: str | None, token_file: Path | None, ask: Callable[[Collector], Awaitable[None]]
) -> None:
    async def main() -> None:
        async with connected(Access.of(url, token_file)) as collector:
            await ask(collector)

    try:
        asyncio.run(main())
    except (CollectorUnreachable, FileRefused) as problem:
        _fail(problem, EXIT_USAGE)
    except CollectorRefused as refused:
        _fail(refused, EXIT_FAILED)


def main() -> None:
    """The program `esp-collector`."""
    app()
