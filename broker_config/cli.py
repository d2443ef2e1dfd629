"""`esp-broker`: make a broker's directory, run the broker, give a device its credentials."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from broker_config import deployment
from broker_config.deployment import Deployment
from broker_config.mosquitto import Listener, listeners, with_ports
from broker_config.problems import BrokerProblem
from broker_config.readiness import free_port
from broker_config.running import find_mosquitto, run_embedded, run_mosquitto
from broker_config.settings import DEVICE_PORT, LOOPBACK, is_loopback

EXIT_PROBLEM = 2
PORT_TRIES = 5

app = typer.Typer(
    name="esp-broker",
    help="The MQTT broker between devices and collector: configuration, identities, and a broker to start with.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
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
    """Exit codes: 0 done or stopped by a signal, 2 something that you can put right, said in one sentence."""


@app.command()
def init(
    directory: Annotated[Path, typer.Argument(help="Where everything of this broker will lie.")],
    port: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=65_534,
            help="For devices; collector and help desk get the next one. [default: 1883]",
        ),
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="The address that devices connect to. [default: 127.0.0.1]")
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
) -> None:
    """Make a Mosquitto configuration with accounts, access rules and limits.

    Run again it makes what is missing and changes nothing that is there.

    \b
    Examples:
      esp-broker init /srv/esp-broker --tenant contoso
      esp-broker init ./broker --development --port 1884
    """
    asked = {"port": port, "host": host, "tenant": tenant, "development": development}
    wanted: dict[str, Any] = {key: value for key, value in asked.items() if value is not None}
    with _problems_said():
        made = deployment.init(directory, wanted)
        settings = Deployment(directory.absolute()).settings()
    for path in made:
        typer.echo(f"made {path}")
    if not made:
        typer.echo(f"nothing to do: {directory} is complete")
    if not is_loopback(settings.host):
        _warn_of_network(settings.host)


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
      esp-broker run /srv/esp-broker
      esp-broker run --port 0
      esp-broker run --embedded --port 1884
    """
    with _problems_said():
        if directory is None:
            _run_development(host or LOOPBACK, DEVICE_PORT if port is None else port, embedded)
        else:
            _run_directory(directory, host, port, embedded, development)


@app.command()
def device(
    name: Annotated[str, typer.Argument(help="The device id, which becomes its user name.")],
    directory: Annotated[
        Path,
        typer.Option(
            "--dir", envvar="ESP_BROKER_DIR", help="The directory that `esp-broker init` made."
        ),
    ] = Path(),
    trust: Annotated[
        list[Path] | None,
        typer.Option(help="The collector's public key in PEM form; repeat it while keys change."),
    ] = None,
) -> None:
    """Give one device its credentials, and print where the identity file is.

    Run again for the same device it changes nothing but the trusted keys, when --trust is given.

    \b
    Examples:
      esp-broker device DESKTOP-NEW001 --dir /srv/esp-broker --trust /srv/collector/keys/public.pem
    """
    with _problems_said():
        keys = None if trust is None else [deployment.trusted_key(path) for path in trust]
        path, is_new = deployment.issue_device(directory, name, keys)
    typer.echo(str(path))
    if is_new and keys is None:
        typer.echo(
            "note: without --trust the device accepts no assignment; name the collector's public key",
            err=True,
        )


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
            place.directory, {"host": host, "development": True, "port": port or DEVICE_PORT}
        )
        _run_mosquitto(program, place, port)


def _run_directory(
    directory: Path, host: str | None, port: int | None, embedded: bool, development: bool
) -> None:
    place = Deployment(directory.absolute())
    settings = place.settings()
    if host is not None:
        raise BrokerProblem(f"the address stands in {place.configuration}; leave --host out")
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
    asyncio.run(run_mosquitto(program, file, found, place.passwords, _announce))


def _new_ports(found: tuple[Listener, ...], port: int) -> dict[int, int]:
    """The first listener gets the port asked for, the others the next ones; or each a free one."""
    if port == 0:
        return {listener.port: free_port(listener.host) for listener in found}
    return {listener.port: port + place for place, listener in enumerate(found)}


def _announce(url: str) -> None:
    typer.echo(f"ready {url}")
    sys.stdout.flush()


def _warn_of_network(host: str) -> None:
    typer.echo(
        f"warning: devices will connect to {host} without encryption, so whoever is on the way reads their "
        "passwords; add cafile, certfile and keyfile to the first listener in mosquitto.conf",
        err=True,
    )


@contextmanager
def _problems_said() -> Iterator[None]:
    try:
        yield
    except BrokerProblem as problem:
        typer.echo(f"esp-broker: {problem}", err=True)
        raise typer.Exit(EXIT_PROBLEM) from None
