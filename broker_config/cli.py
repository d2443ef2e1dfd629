"""`esp-broker`: make a broker's directory, run the broker, give a device its credentials."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from agent.help_page import CONTEXT_SETTINGS, PlainHelp
from broker_config import deployment
from broker_config.deployment import Deployment
from broker_config.files import check_private
from broker_config.mosquitto import Listener, listeners, with_ports
from broker_config.problems import BrokerProblem
from broker_config.readiness import free_port
from broker_config.running import find_mosquitto, run_embedded, run_mosquitto
from broker_config.settings import DEVELOPMENT_PORT, LOOPBACK, is_loopback

EXIT_OK = 0
EXIT_BROKEN = 1
EXIT_PROBLEM = 2
KNOCK_S = 5.0
PORT_TRIES = 5

Directory = Annotated[
    Path,
    typer.Option(
        "--dir", envvar="ESP_BROKER_DIR", help="The directory that `esp-broker init` made."
    ),
]

app = typer.Typer(
    name="esp-broker",
    help="The MQTT broker between devices and collector: configuration, identities, and a broker to start with.",
    epilog="Exit codes: 0 done or stopped by a signal, 1 `check` found a broken rule, 2 a mistake that you can put right.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    cls=PlainHelp,
    context_settings=CONTEXT_SETTINGS,
)


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"esp-broker {version('enrollment-agent')}")
        raise typer.Exit


@app.callback()
def _program(
    show_version: Annotated[
        bool,
        typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """The MQTT broker between devices and collector."""


@app.command()
def init(
    directory: Annotated[Path, typer.Argument(help="Where everything of this broker will lie.")],
    port: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=65_534,
            help="For devices; collector and help desk get the next one. [default: 8883; 1883 with --development]",
        ),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(
            help="The name or address that devices connect to, as it stands in the broker's certificate. "
            "Any but loopback opens the listener to the network. [default: 127.0.0.1]"
        ),
    ] = None,
    service_host: Annotated[
        str | None,
        typer.Option(
            help="The same for collector and help desk, if they are on other machines. [default: 127.0.0.1]"
        ),
    ] = None,
    tenant: Annotated[
        str | None,
        typer.Option(help="The organization, as it stands in topics. [default: default]"),
    ] = None,
    development: Annotated[
        bool | None,
        typer.Option(
            "--development", help="Anybody on this machine may do everything; loopback only."
        ),
    ] = None,
    renew: Annotated[
        bool,
        typer.Option(
            "--renew", help="Issue the certificates of broker, collector and help desk anew."
        ),
    ] = False,
) -> None:
    """Make certificates, access rules, limits and a Mosquitto configuration that uses them.

    Run again it makes what is missing and changes nothing that is there.

    \b
    Examples:
      esp-broker init /srv/esp/broker --host mqtt.contoso.com --tenant contoso
      esp-broker init /srv/esp/broker --renew
      esp-broker init ./esp/broker --development --port 1884
    """
    asked = {
        "port": port,
        "host": host,
        "service_host": service_host,
        "tenant": tenant,
        "development": development,
    }
    wanted: dict[str, Any] = {key: value for key, value in asked.items() if value is not None}
    with _problems_said():
        made = deployment.init(directory, wanted, renew=renew)
    for path in made:
        typer.echo(f"made {path}")
    if not made:
        typer.echo(f"nothing to do: {directory} is complete")


@app.command()
def run(
    directory: Annotated[
        Path | None,
        typer.Argument(
            help="Made by `esp-broker init`. [default: a development broker in a temporary place]"
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65_534,
            help="Instead of the configured one; 0 takes a free one. [default: 1883]",
        ),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(help="Without DIRECTORY: the address to listen on. [default: 127.0.0.1]"),
    ] = None,
    embedded: Annotated[
        bool,
        typer.Option(
            "--embedded",
            help="The broker in Python, for demonstrations: no accounts, no rights, MQTT 3.1.1.",
        ),
    ] = False,
    development: Annotated[
        bool, typer.Option("--development", help="Refuse to run anything but a development broker.")
    ] = False,
) -> None:
    """Run a broker in the foreground: Mosquitto if it is installed, else the embedded one.

    Prints `ready mqtt://HOST:PORT` once it answers. Stops on SIGTERM and Ctrl+C.

    \b
    Examples:
      esp-broker run /srv/esp/broker
      esp-broker run --port 0
      esp-broker run --embedded --port 1884
    """
    with _problems_said():
        if directory is None:
            _run_development(host or LOOPBACK, DEVELOPMENT_PORT if port is None else port, embedded)
        else:
            _run_directory(directory, host, port, embedded, development)


@app.command()
def device(
    name: Annotated[str, typer.Argument(help="The device id, which becomes its user name.")],
    directory: Directory = Path(),
    trust: Annotated[
        list[Path] | None,
        typer.Option(
            help="The collector's public keys in PEM form; a file may hold several, and the option may be repeated."
        ),
    ] = None,
    renew: Annotated[
        bool, typer.Option("--renew", help="Issue another certificate to a device that has one.")
    ] = False,
) -> None:
    """Give one device its identity, and print where its file is; the folder around it goes to the device.

    Run again for the same device it changes nothing but the trusted keys, when --trust is given.

    \b
    Examples:
      esp-broker device DESKTOP-NEW001 --dir /srv/esp/broker --trust /srv/esp/collector/keys/public.pem
      esp-broker device DESKTOP-NEW001 --dir /srv/esp/broker --renew
    """
    with _problems_said():
        keys = None if trust is None else [k for p in trust for k in deployment.trusted_keys(p)]
        path, is_new = deployment.issue_device(directory, name, keys, renew=renew)
    typer.echo(str(path))
    if is_new and keys is None:
        typer.echo(
            "note: without --trust the device accepts no assignment; name the collector's public key",
            err=True,
        )


@app.command()
def revoke(
    name: Annotated[
        str, typer.Argument(help="A device id, or _collector, or _helpdesk, who get new ones.")
    ],
    directory: Directory = Path(),
) -> None:
    """Take back every certificate that was issued to somebody.

    A broker that `esp-broker run` started knows at once; any other Mosquitto after a SIGHUP.

    \b
    Examples:
      esp-broker revoke LAPTOP-7 --dir /srv/esp/broker
    """
    with _problems_said():
        taken = deployment.revoke(directory, name)
    typer.echo(f"revoked {taken} certificate{'' if taken == 1 else 's'} of {name}")


@app.command()
def contract(
    out: Annotated[
        Path | None, typer.Option(help="A folder for asyncapi.json. [default: print it]")
    ] = None,
) -> None:
    """The topics and messages as an AsyncAPI 3 document, for clients in other languages.

    \b
    Example:
      esp-broker contract --out docs/asyncapi
    """
    from broker_config.contract import DOCUMENT, asyncapi

    text = json.dumps(asyncapi(), indent=2, sort_keys=True) + "\n"
    if out is None:
        typer.echo(text, nl=False)
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / DOCUMENT).write_text(text)
    except OSError as error:
        typer.echo(
            f"esp-broker: --out {out}: cannot be written ({error.strerror}); name another folder",
            err=True,
        )
        raise typer.Exit(EXIT_PROBLEM) from None


@app.command()
def emqx(
    tenant: Annotated[str, typer.Option(help="The organization, as it stands in topics.")],
) -> None:
    """The access rules as EMQX's acl.conf; docs/examples/emqx.conf is the rest of its configuration.

    \b
    Example:
      esp-broker emqx --tenant contoso
    """
    from broker_config.emqx import emqx_acl

    with _problems_said():
        settings = deployment.checked({"tenant": tenant})
    typer.echo(emqx_acl(settings.tenant), nl=False)


@app.command("check")
def check_command(
    url: Annotated[
        str | None,
        typer.Argument(help="mqtts://HOST:PORT. [default: where devices of --dir find it]"),
    ] = None,
    directory: Annotated[
        Path | None,
        typer.Option(
            "--dir",
            envvar="ESP_BROKER_DIR",
            help="The directory that `esp-broker init` made: its authority signs the devices that try.",
        ),
    ] = None,
    device_files: Annotated[
        list[Path] | None,
        typer.Option(
            "--device",
            help="Where there is no --dir: identity files of two devices that do not enroll.",
        ),
    ] = None,
    collector: Annotated[
        Path | None, typer.Option(help="Where there is no --dir: the collector's identity file.")
    ] = None,
    tenant: Annotated[str, typer.Option(help="Where nobody has an identity.")] = "default",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Try out on a running broker, of any make, what devices must not be able to do.

    Exit codes: 0 the broker keeps every rule that was tried, 1 it breaks one, 2 it could not be tried.

    \b
    Examples:
      esp-broker check --dir /srv/esp/broker
      esp-broker check mqtt://127.0.0.1:1883
      esp-broker check mqtts://emqx.example:8883 --device a.json --device b.json --collector collector.json
    """
    from broker_config.check import Finding, Verdict, check
    from broker_config.personas import cast_of

    def say(finding: Finding) -> None:
        typer.echo(f"{finding.verdict:<12} {finding.rule:<19}{finding.promise}")
        seen = "why" if finding.verdict is Verdict.NOT_CHECKED else "seen"
        for word, sentence in ((seen, finding.seen), ("do", finding.remedy)):
            if sentence:
                typer.echo(f"{'':<13}{word:>6}: {sentence}")

    with _problems_said():
        if url is None:
            if directory is None:
                raise BrokerProblem("no broker was named; give its URL, or --dir")
            url = Deployment(directory.absolute()).settings().url
        with cast_of(url, directory, device_files or [], collector, tenant) as cast:
            _knock(url)
            found = asyncio.run(check(cast, (lambda _: None) if as_json else say))
    broken = [finding.rule for finding in found if finding.verdict is Verdict.FAIL]
    untried = [finding.rule for finding in found if finding.verdict is Verdict.NOT_CHECKED]
    if as_json:
        content = {"url": url, "broken": broken, "not_checked": untried}
        content["rules"] = [asdict(finding) for finding in found]  # type: ignore[misc]
        typer.echo(json.dumps(content, indent=2))
    else:
        kept = len(found) - len(broken) - len(untried)
        typer.echo(f"{kept} kept, {len(broken)} broken, {len(untried)} not checked: {url}")
    raise typer.Exit(
        EXIT_BROKEN if broken else EXIT_OK if len(untried) < len(found) else EXIT_PROBLEM
    )


def _knock(url: str) -> None:
    """Raises `BrokerProblem` when nobody listens there; everything else is a finding."""
    from broker_config.personas import Address

    address = Address.of(url)
    try:
        socket.create_connection((address.host, address.port), timeout=KNOCK_S).close()
    except OSError as error:
        raise BrokerProblem(
            f"nobody answers at {url} ({error.strerror or error}); start the broker, or name another address"
        ) from None


def main() -> None:
    """The program."""
    app(prog_name="esp-broker")


def _run_development(host: str, port: int, embedded: bool) -> None:
    program = None if embedded else find_mosquitto()
    if program is None:
        if not embedded:
            typer.echo("note: Mosquitto is not installed; this is the embedded broker", err=True)
        _run_embedded(host, port)
        return
    with tempfile.TemporaryDirectory(prefix="esp-broker-") as temporary:
        place = Deployment(Path(temporary) / "broker")
        deployment.init(
            place.directory, {"host": host, "development": True, "port": port or DEVELOPMENT_PORT}
        )
        _run_mosquitto(program, place, port)


def _run_directory(
    directory: Path, host: str | None, port: int | None, embedded: bool, development: bool
) -> None:
    place = Deployment(directory.absolute())
    settings = place.settings()
    if host is not None:
        raise BrokerProblem(f"the address stands in {place.configuration}; leave --host out")
    for key in place.private_keys:
        check_private(key)
    if development and not settings.development:
        raise BrokerProblem(f"{directory} is not a development broker; leave --development out")
    program = None if embedded else find_mosquitto()
    if program is not None:
        _run_mosquitto(program, place, port)
        return
    if not settings.development:
        raise BrokerProblem(
            "the embedded broker knows no accounts and no rights, so it can't run this directory; "
            "install Mosquitto (Debian: apt-get install mosquitto) and leave --embedded out"
        )
    _run_embedded(settings.host, settings.port if port is None else port)


def _run_embedded(host: str, port: int) -> None:
    if not is_loopback(host):
        typer.echo(
            f"warning: the embedded broker has no accounts; whoever reaches {host} may read every device's "
            "reports and send reports in its name",
            err=True,
        )
    asyncio.run(run_embedded(host, port, _announce))


def _run_mosquitto(program: str, place: Deployment, port: int | None) -> None:
    if not place.configuration.exists():
        raise BrokerProblem(
            f"{place.configuration} is missing; make it again with: esp-broker init {place.directory}"
        )
    text = place.configuration.read_text()
    found = listeners(text)
    if not found:
        raise BrokerProblem(f"{place.configuration} has no `listener PORT` line; add one")
    if port is None:
        _serve(program, place, place.configuration, found)
        return
    with tempfile.TemporaryDirectory(prefix="esp-broker-") as temporary:
        for attempt in range(1, PORT_TRIES + 1):
            changed = with_ports(text, _new_ports(found, port))
            file = Path(temporary) / "mosquitto.conf"
            file.write_text(changed)
            try:
                _serve(program, place, file, listeners(changed))
            except BrokerProblem as problem:
                # A free port can be taken by somebody else before Mosquitto listens on it.
                if port != 0 or attempt == PORT_TRIES or "in use" not in str(problem):
                    raise
            else:
                return


def _serve(program: str, place: Deployment, file: Path, found: tuple[Listener, ...]) -> None:
    asyncio.run(run_mosquitto(program, file, found, place, _announce))


def _new_ports(found: tuple[Listener, ...], port: int) -> dict[int, int]:
    """The first listener gets the port asked for, the others the next ones; or each a free one."""
    if port == 0:
        return {listener.port: free_port(listener.host) for listener in found}
    return {listener.port: port + place for place, listener in enumerate(found)}


def _announce(url: str) -> None:
    typer.echo(f"ready {url}")
    sys.stdout.flush()


@contextmanager
def _problems_said() -> Iterator[None]:
    try:
        yield
    except BrokerProblem as problem:
        typer.echo(f"esp-broker: {problem}", err=True)
        raise typer.Exit(EXIT_PROBLEM) from None
