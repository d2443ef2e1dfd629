"""`esp-collector`: serves the collector, and asks a running one."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Coroutine
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import typer
from pydantic import TypeAdapter, ValidationError

from agent.help_page import CONTEXT_SETTINGS, PlainHelp
from agent.wire.base import Tenant
from agent.wire.codec import PayloadRefused, decode
from agent.wire.identity import ServiceIdentity
from collector.api import make_app
from collector.client import Access, Collector, CollectorUnreachable
from collector.commands.command_line import (
    EXIT_USAGE,
    Data,
    DatabaseUrl,
    Json,
    TokenFile,
    Url,
    ask_collector,
    counted,
    fail,
    print_line,
)
from collector.commands.devices import command
from collector.commands.incomplete import incomplete
from collector.commands.profiles import profile_app
from collector.commands.store import export_command, migrate_command
from collector.commands.tokens import token_app
from collector.commands.upkeep import backup_command, restore_command, retain_command
from collector.commands.webhooks import webhook_app
from collector.files import FileRefused, load, load_rows
from collector.janitor import CLEAR_AFTER_HOURS
from collector.keys import KeyRefused, Rotation, load_or_make, rotate
from collector.listening import CannotListen, TlsFiles
from collector.logs import LevelUnknown, LogFormat, configure_logs
from collector.pages import text
from collector.profiles.setup import Registration, Setup
from collector.service import CannotServe, ServeSettings, serve
from collector.store.database import StoreFailed
from collector.store.leases import LEASE_MS
from collector.subscriber.mqtt import BrokerAddress, UrlRefused, tls_of
from collector.upkeep.retention import KEEP_DAYS_MIN

GARBAGE: Final = 20_000, 20, 20
"""How many new objects there have to be before some are looked through, and how seldom the older ones are."""

T = TypeVar("T")

_CANNOT_SERVE: Final = (
    FileRefused,
    UrlRefused,
    CannotListen,
    CannotServe,
    KeyRefused,
    LevelUnknown,
)

app = typer.Typer(
    name="esp-collector",
    help="Receives enrollment reports over MQTT, stores them, and answers the enrollment status page.",
    epilog="Exit codes: 0 done, 1 the collector refused, 2 a mistake that you can put right, or no collector answers there.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    cls=PlainHelp,
    context_settings=CONTEXT_SETTINGS,
)


def _show_version(*, wanted: bool) -> None:
    if wanted:
        print_line(f"esp-collector {version('enrollment-agent')}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    show_version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=lambda v: _show_version(wanted=v),
            is_eager=True,
            help="Show the version.",
        ),
    ] = False,
) -> None:
    """Receives enrollment reports over MQTT, stores them, and answers the enrollment status page."""


@app.command("serve")
def serve_command(
    data: Data,
    broker: Annotated[
        str | None, typer.Option(help="mqtt://HOST:PORT, or mqtts://HOST:PORT for TLS.")
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="The tenant in the topics.")] = None,
    identity: Annotated[
        Path | None,
        typer.Option(help="The collector's account at the broker, written by `esp-broker init`."),
    ] = None,
    host: Annotated[str, typer.Option(help="The address that the API listens on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0 takes a free one.")] = 8080,
    database: DatabaseUrl = None,
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
    lease_seconds: Annotated[
        float,
        typer.Option(
            min=1,
            help="Where several collectors share one database: how long one may be silent before others take over.",
        ),
    ] = LEASE_MS / 1000,
    tls_certificate: Annotated[
        Path | None,
        typer.Option(help="The API's certificate (PEM, with its chain); then it is HTTPS."),
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option(help="Its key, where the certificate's file does not hold it.")
    ] = None,
    tls_client_ca: Annotated[
        Path | None, typer.Option(help="Only clients with a certificate of this authority get in.")
    ] = None,
    allow_plain_http: Annotated[
        bool,
        typer.Option(
            "--allow-plain-http",
            help="Listen beyond this machine without TLS: tokens go in the clear.",
        ),
    ] = False,
    keep: Annotated[
        int | None,
        typer.Option(
            min=KEEP_DAYS_MIN,
            help="Days for which the reports of ended attempts stay; for good else.",
        ),
    ] = None,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
    log_format: Annotated[
        LogFormat, typer.Option(help="auto is text on a terminal and JSON lines elsewhere.")
    ] = LogFormat.AUTO,
) -> None:
    """Take in reports and answer the API, until SIGINT or SIGTERM.

    Prints one line, `ready URL`, once the API answers and all partitions are subscribed to; logs go to stderr.

    \b
    Example:
      esp-collector serve --data ./esp/collector --broker mqtt://127.0.0.1:1883 --tenant default
    """
    try:
        configure_logs(log_level, log_format)
        account = None if identity is None else _read_identity(identity)
        settings = ServeSettings(
            data=data,
            broker=_broker(broker, account, identity),
            tenant=_tenant(tenant, account),
            host=host,
            port=port,
            database=database,
            setup=None if setup is None else load(setup, Setup),
            speed=speed,
            clear_after_hours=clear_after_hours,
            keep_days=keep,
            lease_ms=round(lease_seconds * 1000),
            tls=TlsFiles.of(tls_certificate, tls_key, tls_client_ca),
            allow_plain_http=allow_plain_http,
        )
        _run(serve(settings, _ready))
    except _CANNOT_SERVE as refused:
        fail(refused, EXIT_USAGE)
    except StoreFailed as failed:
        fail(failed, EXIT_USAGE)
    except OSError as error:
        fail(
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


def _broker(
    url: str | None, account: ServiceIdentity | None, identity: Path | None
) -> BrokerAddress:
    if account is not None and identity is not None:
        return BrokerAddress.of(
            url or account.broker,
            account.username,
            account.password,
            partial(tls_of, account, identity.parent),
        )
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


def _ready(url: str) -> None:
    # What is loaded by now stays. To look through all of it for garbage, again and again, would halt everything each time.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE)
    print(f"ready {url}", flush=True)  # noqa: T201


def _run(main: Coroutine[Any, Any, T]) -> T:
    """On uvloop where it is installed: a thousand devices are then half the work."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)


@app.command()
def board(
    url: Url = None,
    token_file: TokenFile = None,
    *,
    web: Annotated[bool, typer.Option("--web", help="In a browser instead.")] = False,
    host: Annotated[
        str, typer.Option(help="With --web: the address that the browser asks.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="With --web; 0 takes a free one.")
    ] = 8081,
    allow_plain_http: Annotated[
        bool,
        typer.Option("--allow-plain-http", help="With --web: an address beyond this machine."),
    ] = False,
) -> None:
    """The enrollment status page in the terminal, live; Enter opens a device's screen, h its history.

    With --web it prints `ready URL`. Whoever knows that URL may do all that the token may, so it carries a key of its own.

    \b
    Example:
      esp-collector board --url http://127.0.0.1:8080 --token-file ./esp/collector/token
    """
    from collector.board.run import CannotShow, run_board, run_web

    try:
        access = Access.of(url, token_file)
        if web:
            run_web(access, token_file, host, port, allow_plain_http=allow_plain_http)
        else:
            asyncio.run(run_board(access))
    except (CollectorUnreachable, CannotShow) as problem:
        fail(problem, EXIT_USAGE)


@app.command()
def report(url: Url = None, token_file: TokenFile = None, *, as_json: Json = False) -> None:
    """The enrollment status page as text.

    \b
    Example:
      esp-collector report --url http://127.0.0.1:8080 --token-file ./esp/collector/token
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
            print_line(json.dumps(whole))
        else:
            typer.echo(text.status_page(status, active, failures, profiles), nl=False)

    ask_collector(url, token_file, ask)


@app.command()
def register(
    file: Annotated[Path, typer.Argument(help="A CSV file with a line of headings.")],
    url: Url = None,
    token_file: TokenFile = None,
) -> None:
    """Register the devices of a CSV file, which are pending until they begin to enroll.

    Its columns: device, and if wanted enrollment_type, user, group.

    \b
    Example:
      esp-collector register devices.csv --token-file ./esp/collector/token
    """
    columns = sorted(Registration.model_fields)

    async def ask(collector: Collector) -> None:
        rows = load_rows(file, Registration, columns)
        print_line(f"registered {counted(await collector.register(rows), 'device')}")

    ask_collector(url, token_file, ask)


@app.command()
def openapi() -> None:
    """The API as an OpenAPI document."""
    print_line(json.dumps(make_app(None).openapi(), indent=2))


@app.command()
def key(
    data: Data,
    step: Annotated[
        Rotation | None,
        typer.Option(
            "--rotate",
            help="Replace the key: prepare the next one and trust both, switch to it, finish with the old one.",
        ),
    ] = None,
) -> None:
    """The public key that devices trust, as an identity file carries it; made when there is none yet.

    \b
    Replacing it, one step at a time; after `switch` restart the collector:
      esp-collector key --data ./esp/collector --rotate prepare
      esp-broker device LAPTOP-7 --dir ./esp/broker --trust ./esp/collector/keys/public.pem
      esp-collector key --data ./esp/collector --rotate switch
      esp-collector key --data ./esp/collector --rotate finish
    """
    try:
        keys = data / "keys"
        for trusted in [load_or_make(keys).trusted_key] if step is None else rotate(keys, step):
            print_line(trusted.model_dump_json(indent=2))
    except KeyRefused as refused:
        fail(refused, EXIT_USAGE)
    except OSError as error:
        fail(f"{data}: can't be used ({error.strerror}); check --data", EXIT_USAGE)


app.add_typer(profile_app, name="profile", cls=PlainHelp)
app.add_typer(token_app, name="token", cls=PlainHelp)
app.command("command")(command)
app.command("incomplete")(incomplete)
app.add_typer(webhook_app, name="webhook", cls=PlainHelp)
app.command("backup")(backup_command)
app.command("restore")(restore_command)
app.command("retain")(retain_command)
app.command("migrate")(migrate_command)
app.command("export")(export_command)


def main() -> None:
    """The program `esp-collector`."""
    app()
