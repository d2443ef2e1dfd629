"""The command line of the agent: enroll this endpoint, look at one, and read its journal."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Iterator
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer
from pydantic import ValidationError

from agent.exit_codes import ExitCode, exit_code_of, exit_code_table
from agent.settings import VERSION, AgentSettings
from agent.wire.vocabulary import EnrollmentType, PersonAction, Variant

if TYPE_CHECKING:
    from agent.assembly import Agent, AgentPlan, WatchPlan
    from agent.core.explanation import Explanation
    from agent.journal import JournalReader
    from agent.runtime.driver import Driver, Outcome
    from agent.runtime.watcher import Watcher
    from agent.wire.assignment import Admitted, Refused
    from agent.wire.progress import Progress, Reporting

T = TypeVar("T")

# What builds an agent or draws a screen is imported where it is used, so that a headless endpoint never loads Textual
# and `--help` answers at once.

app = typer.Typer(
    name="esp-agent",
    help="Enrolls this endpoint and keeps it locked until its blocking apps are in.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

EPILOG = f"\b\nExit codes:\n{exit_code_table()}"

Device = Annotated[
    str | None, typer.Option(help="The device id; by default the identity's, or the host name.")
]
StateDir = Annotated[Path | None, typer.Option(help="Where the journal is kept.")]
Broker = Annotated[str | None, typer.Option(help="mqtt://host:port, or mqtts://host:port for TLS.")]
IdentityFile = Annotated[
    Path | None, typer.Option(help="The identity file that `esp-broker device` wrote.")
]
Tenant = Annotated[str | None, typer.Option(help="The tenant; by default the identity's.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, for programs.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"esp-agent {VERSION}")
        raise typer.Exit


@app.callback()
def _program(
    _: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Enrolls this endpoint and keeps it locked until its blocking apps are in."""


@app.command(epilog=EPILOG)
def run(
    platform: Annotated[
        EnrollmentType | None, typer.Option(help="How this endpoint enrolls.", show_choices=True)
    ] = None,
    variant: Annotated[
        Variant, typer.Option(help="A variant of the enrollment type.")
    ] = Variant.STANDARD,
    device: Device = None,
    user: Annotated[str | None, typer.Option(help="The person who enrolls.")] = None,
    os_version: Annotated[
        str | None, typer.Option(help="By default what the endpoint finds.")
    ] = None,
    broker: Broker = None,
    identity: IdentityFile = None,
    tenant: Tenant = None,
    assignment: Annotated[
        Path | None,
        typer.Option(
            help="A JSON file with an assignment, or just its decision: works without a broker."
        ),
    ] = None,
    profile: Annotated[
        Path | None,
        typer.Option(help="A JSON file with an ESP profile that replaces the assignment's."),
    ] = None,
    state_dir: StateDir = None,
    logs: Annotated[
        Path | None,
        typer.Option(help="Where log archives are written; by default `logs` beside the journal."),
    ] = None,
    endpoint: Annotated[str | None, typer.Option(help="What carries out the steps.")] = None,
    speed: Annotated[
        float | None, typer.Option(help="Device time per real time, for a simulated endpoint.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of a simulated endpoint.")] = 0,
    linger: Annotated[
        float | None,
        typer.Option(
            help="Seconds to stay for reports that are not through; by default until they are."
        ),
    ] = None,
    exit_on_release: Annotated[
        bool,
        typer.Option(
            "--exit-on-release", help="End as soon as the gate opens or the attempt is over."
        ),
    ] = False,
    emergency_exit: Annotated[
        bool | None,
        typer.Option(
            "--emergency-exit/--no-emergency-exit",
            help="Let the person open the gate with the emergency exit; it is reported.",
        ),
    ] = None,
    no_screen: Annotated[
        bool,
        typer.Option("--no-screen", help="Print progress lines on stderr instead of the screen."),
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Answer person screens by itself, for scripts.")
    ] = False,
    set_aside: Annotated[
        bool, typer.Option("--set-aside", help="Rename an existing journal and begin anew.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Enroll this endpoint.

    \b
    Examples:
      esp-agent run --platform windows_autopilot --assignment docs/examples/assignment.json
      esp-agent run --platform ios --broker mqtts://broker.example:8883 --identity identity.json
    """
    from agent import assembly

    with _told():
        settings = _settings(
            platform=platform,
            device=device,
            user=user,
            os_version=os_version,
            broker=broker,
            identity=identity,
            tenant=tenant,
            state_dir=state_dir,
            logs=logs,
            endpoint=endpoint,
            speed=speed,
            linger=linger,
            emergency_exit=emergency_exit,
        )
        plan = _plan(settings, assignment, profile, variant, seed, exit_on_release)
        if set_aside:
            _set_aside(plan.journal_file)
        has_screen = not no_screen and not as_json and sys.stdout.isatty() and sys.stdin.isatty()
        _log_to(settings.log_level, file=plan.log_file, on_stderr=not has_screen)
        agent = assembly.build_agent(plan)
        outcome = _on_a_loop(
            _run(
                agent,
                has_screen=has_screen,
                yes=yes,
                emergency_exit=settings.emergency_exit,
                exit_on_release=exit_on_release,
            )
        )
    _tell_outcome(plan.device, outcome, as_json=as_json)
    raise typer.Exit(exit_code_of(outcome.gate, outcome.end_state))


@app.command(epilog=EPILOG)
def status(device: Device = None, state_dir: StateDir = None, as_json: AsJson = False) -> None:
    """Print one line about this device; the exit code is 3 while its gate is locked, and 0 once it is open.

    Example: esp-agent status --device LAPTOP-7
    """
    from agent import assembly
    from agent.core.retelling import Retelling, told_otherwise
    from agent.journal import ReadInputs, read_journal
    from agent.replay import last_progress
    from agent.screen.plain import plain_line
    from agent.wire.vocabulary import Gate

    with _told():
        settings = _settings(device=device, state_dir=state_dir)
        name = assembly.check_device(settings.device or _host_name())
        path = assembly.journal_file(settings.state_dir.expanduser(), name)
        if not path.exists():
            _fail(f"{path}: this device has not begun to enroll here", ExitCode.NOTHING_KNOWN)
        with read_journal(path) as reader:
            inputs = reader.inputs(name) if name in reader.devices() else ReadInputs(name, ())
    retelling = Retelling(inputs.entries, inputs.checkpoints)
    progress = last_progress(retelling)
    otherwise = told_otherwise(retelling, VERSION)
    for note in filter(None, (inputs.left_out, otherwise, inputs.missing)):
        typer.echo(f"{path}: {note}", err=True)
    if retelling.is_lost or inputs.missing:
        _fail(f"{path}: where this device is now can't be told", ExitCode.FAILED_TO_RUN)
    if progress is None:
        _fail(f"{path}: this device has not begun to enroll", ExitCode.NOTHING_KNOWN)
    typer.echo(progress.model_dump_json(exclude_none=True) if as_json else plain_line(progress))
    raise typer.Exit(ExitCode.LOCKED if progress.gate is Gate.LOCKED else ExitCode.OPEN)


@app.command(epilog=EPILOG)
def watch(
    device: Annotated[str, typer.Argument(help="The device to look at.")],
    broker: Broker = None,
    identity: Annotated[
        Path | None,
        typer.Option(help="The help desk's identity file that `esp-broker init` wrote."),
    ] = None,
    tenant: Tenant = None,
    once: Annotated[
        bool, typer.Option("--once", help="Print what the screen shows now, and end.")
    ] = False,
    wait: Annotated[
        float, typer.Option(help="Seconds to wait for the first snapshot with --once.")
    ] = 10,
    as_json: AsJson = False,
) -> None:
    """Show the screen of another device, live, from its retained status.

    \b
    Examples:
      esp-agent watch LAPTOP-7 --identity broker/identities/help-desk.json
      esp-agent watch LAPTOP-7 --broker mqtt://127.0.0.1:1883 --once --json
    """
    with _told():
        settings = _settings(broker=broker, identity=identity, tenant=tenant)
        plan = _watch_plan(settings, device)
    once = once or as_json or not sys.stdout.isatty()
    _log_to(settings.log_level if once else "CRITICAL")
    with _told():
        found = _on_a_loop(_watch(plan, once=once, wait_s=wait))
    if once:
        _tell_snapshot(device, found, as_json=as_json)


@app.command(epilog=EPILOG)
def replay(
    journal: Annotated[Path, typer.Argument(help="A journal file, or a log archive.")],
    device: Annotated[
        str | None, typer.Option(help="One device of a journal that holds many.")
    ] = None,
    no_screen: Annotated[
        bool, typer.Option("--no-screen", help="Print one line for each input instead of playing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Play back, on the screen, what a device did: from its journal or a log archive, which is only read.

    Without a terminal it prints one line for each input. A journal that lost its end is played as far as it goes; what
    is missing is told, and the exit code is 1 then.

    \b
    Examples:
      esp-agent replay ~/.local/state/esp-agent/LAPTOP-7.journal.sqlite3
      esp-agent replay LAPTOP-7-20261121T082640Z.zip --json
    """
    from agent.journal import read_journal
    from agent.log_archive import journal_in

    with _told(), journal_in(journal) as file, read_journal(file) as reader:
        names = reader.devices()
        if device is not None and device not in names:
            _fail(f"{journal}: holds no device '{device}'", ExitCode.NOTHING_KNOWN)
        if not names:
            _fail(f"{journal}: nothing has been recorded in it yet", ExitCode.NOTHING_KNOWN)
        names = names if device is None else [device]
        if not no_screen and not as_json and sys.stdout.isatty() and sys.stdin.isatty():
            _play(reader, names)
        else:
            _print_replay(reader, names, as_json=as_json)


@app.command(epilog=EPILOG)
def explain(
    assignment: Annotated[
        Path, typer.Option(help="A JSON file with an assignment, or just its decision.")
    ],
    platform: Annotated[
        EnrollmentType | None, typer.Option(help="How the device enrolls.", show_choices=True)
    ] = None,
    variant: Annotated[
        Variant, typer.Option(help="A variant of the enrollment type.")
    ] = Variant.STANDARD,
    os_version: Annotated[
        str | None, typer.Option(help="The device's full version, such as 10.0.22631.")
    ] = None,
    profile: Annotated[
        Path | None,
        typer.Option(help="A JSON file with an ESP profile that replaces the assignment's."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Tell how an assignment would act on a device, and why: every setting, and every item in its role.

    Example: esp-agent explain --assignment docs/examples/assignment.json --platform windows_autopilot
    """
    from agent import assembly
    from agent.core.explanation import EXPLANATION_CODEC, explanation_lines, wrapped
    from agent.wire.assignment import Refused

    with _told():
        settings = _settings(platform=platform, os_version=os_version)
        decision = _with_profile(assembly.load_assignment(assignment).decision, profile)
        if isinstance(decision, Refused):
            _tell_refusal(decision, as_json=as_json)
            return
        explained = _explained(settings, variant, decision, assignment)
    if as_json:
        typer.echo(EXPLANATION_CODEC.dumps(explained).decode())
        return
    way = f"{explained.enrollment_type.label}, {variant.value.replace('_', '-')}"
    head = wrapped(f"{explained.profile_name} on {way}", 0)
    typer.echo("\n".join([*head, "", *explanation_lines(explained)]))


@app.command("transitions")
def print_transitions() -> None:
    """Print what the enrollment engine does with each event in each mode, as a table in Markdown."""
    from agent.core.enrollment import transitions

    typer.echo("| mode | event | then |\n|---|---|---|")
    for mode, event, then in transitions():
        typer.echo(f"| {mode} | {event} | {then} |")


@app.command("flows")
def print_flows() -> None:
    """Print the steps of every way of enrolling, with who waits for whom and how long, as tables in Markdown."""
    from agent.core.flows import EXPIRIES, FLOWS, described

    for (kind, variant), flow in FLOWS.items():
        typer.echo(f"\n## {kind.label}, {variant.label}\n")
        typer.echo("| phase | row | step | particulars |\n|---|---|---|---|")
        for cells in described(flow):
            typer.echo(f"| {' | '.join(cells)} |")
    typer.echo("\n## What expires\n")
    for expiry in EXPIRIES:
        typer.echo(
            f"- `{expiry.opens}` to `{expiry.closes}`, {expiry.limit_min} min: {expiry.note}"
        )


@app.command()
def schema(
    out: Annotated[Path | None, typer.Option(help="A folder; one file for each message.")] = None,
) -> None:
    """Print the JSON Schema of every message, or write one file for each.

    Example: esp-agent schema --out schemas
    """
    from agent.wire.codec import json_schemas

    schemas = json_schemas()
    if out is None:
        typer.echo(json.dumps(schemas, indent=2, sort_keys=True))
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, content in schemas.items():
            text = json.dumps(content, indent=2, sort_keys=True) + "\n"
            (out / f"{name}.schema.json").write_text(text)
    except OSError as error:
        _fail(f"--out {out}: cannot be written ({error.strerror}); name another folder")


def main() -> None:
    """What the program `esp-agent` runs."""
    app()


# Flags, variables and files.


def _settings(**given: Any) -> AgentSettings:
    """The settings of the environment, under what was given on the command line."""
    try:
        return AgentSettings(**{k: v for k, v in given.items() if v is not None})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = str(first["loc"][0])
        flag = f"--{name.replace('_', '-')}, or the variable ESP_AGENT_{name.upper()}"
        _fail(f"{flag}: {first['msg']}; correct it")


def _check_variant(platform: EnrollmentType, variant: Variant) -> None:
    from agent import assembly
    from agent.core.flows import flow_of

    try:
        flow_of(platform, variant)
    except ValueError as error:
        raise assembly.BadInput(f"--variant: {error}") from None


def _plan(
    settings: AgentSettings,
    assignment: Path | None,
    profile: Path | None,
    variant: Variant,
    seed: int,
    exit_on_release: bool,
) -> AgentPlan:
    from agent import assembly

    platform = _platform(settings)
    _check_variant(platform, variant)
    identity = assembly.load_identity(settings.identity) if settings.identity else None
    local = assembly.load_assignment(assignment) if assignment else None
    broker = settings.broker or (identity.broker if identity else None)
    if local is None and broker is None:
        raise assembly.BadInput(
            "--broker is missing; name a broker to enroll over, or give --assignment FILE to work without one"
        )
    decision = None if local is None else _with_profile(local.decision, profile)
    if local is None and profile is not None:
        raise assembly.BadInput(
            "--profile goes with --assignment; give both, or leave it to the collector"
        )
    named = settings.device or (identity.device if identity else None) or (local and local.device)
    return assembly.AgentPlan(
        device=assembly.check_device(named or _host_name()),
        enrollment_type=platform,
        variant=variant,
        user=settings.user,
        os_version=settings.os_version,
        tenant=settings.tenant or (identity.tenant if identity else assembly.DEFAULT_TENANT),
        broker=assembly.parse_broker(broker) if broker else None,
        identity=identity,
        identity_file=settings.identity,
        decision=decision,
        state_dir=settings.state_dir.expanduser(),
        logs=settings.logs.expanduser() if settings.logs else None,
        endpoint=settings.endpoint,
        speed=settings.speed,
        seed=seed,
        keepalive_s=settings.keepalive,
        linger_ms=None if settings.linger is None else int(settings.linger * 1000),
        exit_on_release=exit_on_release,
    )


def _platform(settings: AgentSettings) -> EnrollmentType:
    from agent.assembly import BadInput

    if settings.platform is None:
        kinds = ", ".join(kind.value for kind in EnrollmentType)
        raise BadInput(f"--platform is missing; say how this endpoint enrolls: {kinds}")
    return settings.platform


def _with_profile(decision: Any, profile: Path | None) -> Any:
    from agent import assembly
    from agent.wire.assignment import Admitted

    if profile is None:
        return decision
    if not isinstance(decision, Admitted):
        raise assembly.BadInput(
            "--profile: the assignment refuses the device, so there is no profile to replace"
        )
    return decision.model_copy(update={"profile": assembly.load_profile(profile)})


def _explained(
    settings: AgentSettings, variant: Variant, admitted: Admitted, file: Path
) -> Explanation:
    from agent.assembly import BadInput
    from agent.core.events import DeviceFacts
    from agent.core.explanation import asks_for_version, explain

    platform = _platform(settings)
    _check_variant(platform, variant)
    asking = asks_for_version(admitted.items)
    if settings.os_version is None and asking is not None:
        raise BadInput(
            f"--os-version is missing; {asking} asks for a minimum, so give one such as 10.0.22631"
        )
    facts = DeviceFacts(
        device=settings.device or "device",
        enrollment_type=platform,
        variant=variant,
        platform=platform.label,
        os_version=settings.os_version or "",
        agent_version=VERSION,
    )
    try:
        return explain(facts, admitted)
    except ValueError as error:
        raise BadInput(f"{file}: {error}") from None


def _watch_plan(settings: AgentSettings, device: str) -> WatchPlan:
    from agent import assembly

    name = assembly.check_device(device)
    account = assembly.load_watching_account(settings.identity) if settings.identity else None
    broker = settings.broker or (account.broker if account else None)
    if broker is None:
        raise assembly.BadInput("--broker is missing; name the broker that the device reports to")
    return assembly.WatchPlan(
        device=name,
        tenant=settings.tenant or (account.tenant if account else assembly.DEFAULT_TENANT),
        broker=assembly.parse_broker(broker),
        account=account,
        account_file=settings.identity,
    )


def _set_aside(path: Path) -> None:
    from agent.journal import set_aside

    if path.exists():
        typer.echo(f"kept the old journal as {set_aside(path)}", err=True)


def _host_name() -> str:
    """The host's name, as far as a device id may hold it."""
    kept = "".join(c if c.isalnum() and c.isascii() else "-" for c in socket.gethostname()[:64])
    return kept.strip("-") or "device"


# Running.


def _on_a_loop(main: Coroutine[Any, Any, T]) -> T:
    """Run to the end, on a loop that can watch sockets; Python's own choice on Windows can't."""
    factory = asyncio.SelectorEventLoop if sys.platform == "win32" else None
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


def _stop_on_signals(stop: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(number, stop)
        except NotImplementedError:
            # Loops on Windows take no signal handlers; Python's own run between two wake-ups of the loop.
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop))


async def _run(
    agent: Agent, *, has_screen: bool, yes: bool, emergency_exit: bool, exit_on_release: bool
) -> Outcome:
    driver = agent.driver
    _stop_on_signals(driver.stop)
    companions = [asyncio.create_task(_answer_screens(driver), name="answers")] if yes else []
    try:
        if has_screen:
            return await _run_with_screen(
                driver, emergency_exit=emergency_exit, exit_on_release=exit_on_release
            )
        companions.append(asyncio.create_task(_print_progress(driver), name="progress lines"))
        return await driver.run()
    finally:
        for companion in companions:
            companion.cancel()
        await asyncio.gather(*companions, return_exceptions=True)
        agent.close()


async def _run_with_screen(
    driver: Driver, *, emergency_exit: bool, exit_on_release: bool
) -> Outcome:
    from agent.assembly import DriverSource
    from agent.screen.app import EspApp
    from agent.wire.vocabulary import Gate

    running = asyncio.create_task(driver.run(), name="driver")
    source = DriverSource(
        driver, emergency_exit_allowed=emergency_exit, stays_open=not exit_on_release
    )
    await EspApp(source).run_async()
    if running.done():
        return await running
    if driver.progress.gate is Gate.LOCKED:
        # No person may have left this page: it broke, and a device without its page is not set up further.
        driver.stop()
    else:
        typer.echo(
            "Setup goes on and is reported without the page. Ctrl+C stops the agent; "
            "started again it goes on from there.",
            err=True,
        )
    return await running


async def _print_progress(driver: Driver) -> None:
    from agent.screen.logs import logs_sentence
    from agent.screen.plain import plain_line

    last, problem, logs = "", "", None
    async for progress, reporting in driver.snapshots():
        told = _without_time(progress)
        if told != last:
            last = told
            typer.echo(plain_line(progress), err=True)
        if reporting.problem and reporting.problem != problem:
            typer.echo(reporting.problem, err=True)
        problem = reporting.problem
        if progress.logs is not None and progress.logs != logs:
            typer.echo(logs_sentence(progress.logs), err=True)
        logs = progress.logs


def _without_time(progress: Progress) -> str:
    """What makes a new line worth printing; the minutes that pass do not."""
    items = ",".join(f"{item.id}:{item.state}" for item in progress.items())
    return f"{progress.attempt}{progress.stage}{progress.percent}{progress.gate}{progress.end_state}{items}"


async def _answer_screens(driver: Driver) -> None:
    """Press the button that goes on, on every person screen that comes up."""
    async for progress, _ in driver.snapshots():
        prompt = progress.prompt
        if prompt is None:
            continue
        offered = [action.action for action in prompt.actions]
        if PersonAction.PROCEED in offered:
            await driver.person_acted(prompt.item, PersonAction.PROCEED)


def _tell_outcome(device: str, outcome: Outcome, *, as_json: bool) -> None:
    end = outcome.end_state.value if outcome.end_state else None
    if as_json:
        told = {
            "device": device,
            "attempt": outcome.attempt,
            "end_state": end,
            "gate": outcome.gate.value,
            "unacknowledged": outcome.unacknowledged,
            "failure": outcome.failure.model_dump(mode="json") if outcome.failure else None,
        }
        typer.echo(json.dumps(told))
        return
    left = f", {outcome.unacknowledged} reports not through yet" if outcome.unacknowledged else ""
    failure = outcome.failure
    why = f". Error {failure.code}: {failure.person}" if failure else ""
    typer.echo(f"{device}: {end or 'not finished'}, gate {outcome.gate.value}{left}{why}")


def _tell_refusal(refused: Refused, *, as_json: bool) -> None:
    failure = refused.failure
    if as_json:
        typer.echo(refused.model_dump_json())
        return
    typer.echo(f"The device is refused with {failure.code}: {failure.engineer}")
    typer.echo("It shows the reason, and nothing is installed.")


# Watching.


async def _watch(
    plan: WatchPlan, *, once: bool, wait_s: float
) -> tuple[Progress, Reporting] | None:
    from agent.assembly import build_watcher
    from agent.runtime.watcher import first_snapshot

    watcher = build_watcher(plan)
    if once:
        return await first_snapshot(watcher, wait_s)
    await _watch_on_screen(watcher)
    return None


async def _watch_on_screen(watcher: Watcher) -> None:
    from agent.assembly import WatcherSource
    from agent.screen.app import EspApp

    await EspApp(WatcherSource(watcher), watching=True).run_async()


def _tell_snapshot(device: str, found: tuple[Progress, Reporting] | None, *, as_json: bool) -> None:
    from agent.screen.plain import plain_page

    if found is None:
        _fail(
            f"nothing was heard of '{device}' in time; is the name right?", ExitCode.NOTHING_KNOWN
        )
    progress, reporting = found
    if as_json:
        both = {
            "progress": progress.model_dump(mode="json", exclude_none=True),
            "reporting": reporting.model_dump(mode="json", exclude_none=True),
        }
        typer.echo(json.dumps(both))
    else:
        typer.echo(plain_page(progress, reporting))


# Replaying.


def _play(reader: JournalReader, names: list[str]) -> None:
    from agent.replay import Recordings
    from agent.screen.recorder import RecorderApp

    recorder = RecorderApp(Recordings(reader, names, VERSION))
    _on_a_loop(recorder.run_async())
    # On a small terminal the bar had room for a part of them only.
    if (tape := recorder.player.tape) is not None:
        for note in tape.notes:
            typer.echo(f"{tape.device}: {note}", err=True)


def _print_replay(reader: JournalReader, names: list[str], *, as_json: bool) -> None:
    from agent.core.retelling import Retelling, told_otherwise
    from agent.replay import moments

    whole = True
    for name in names:
        if not as_json:
            typer.echo(name)
        inputs = reader.inputs(name)
        retelling = Retelling(inputs.entries, inputs.checkpoints)
        for moment in moments(retelling):
            line = {"device": name, **moment.as_json()}
            typer.echo(json.dumps(line) if as_json else f"  {moment.as_line()}")
        if otherwise := told_otherwise(retelling, VERSION):
            whole = whole and not retelling.is_lost
            typer.echo(f"{name}: {otherwise}", err=True)
        if inputs.left_out:
            typer.echo(f"{name}: {inputs.left_out}", err=True)
        if inputs.missing:
            whole = False
            typer.echo(f"{name}: {inputs.missing}", err=True)
    if not whole:
        raise typer.Exit(ExitCode.FAILED_TO_RUN)


# Telling.


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Turn what a person can correct into one sentence and an exit code."""
    from agent.assembly import BadInput
    from agent.runtime.ports import JournalUnreadable, TransportRefused

    try:
        yield
    except BadInput as error:
        _fail(str(error))
    except JournalUnreadable as error:
        _fail(str(error), ExitCode.FAILED_TO_RUN)
    except TransportRefused as error:
        _fail(
            f"the broker refuses this program ({error}); name an --identity that may look",
            ExitCode.FAILED_TO_RUN,
        )


def _fail(sentence: str, code: ExitCode = ExitCode.BAD_INPUT) -> NoReturn:
    typer.echo(f"esp-agent: {sentence}", err=True)
    raise typer.Exit(code)


def _log_to(level: str, *, file: Path | None = None, on_stderr: bool = True) -> None:
    """Structured logs: on stderr, unless the screen has the terminal, and in a file that a log archive takes.

    Raises `BadInput` when the file can't be written.
    """
    known = logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
    handlers: list[logging.Handler] = []
    if on_stderr:
        handlers.append(_on_stderr(known))
    if file is not None:
        handlers.append(_in_file(file))
    logging.basicConfig(level=known, handlers=handlers, force=True)


def _on_stderr(level: int) -> logging.Handler:
    """Warnings beside the progress lines; everything when somebody asks for DEBUG."""
    import structlog

    handler = logging.StreamHandler()
    handler.setLevel(level if level < logging.INFO else max(level, logging.WARNING))
    handler.setFormatter(_formatter(structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())))
    return handler


class _LogFile(RotatingFileHandler):
    """A log file whose disk may be full: lines are lost then, and the page or the terminal stays as it is."""

    def _open(self) -> TextIOWrapper:
        """Open it for its owner alone, as every file of the journal is; also after a rotation."""
        return open(
            self.baseFilename,
            "a",
            encoding=self.encoding,
            opener=lambda path, flags: os.open(path, flags, 0o600),
        )

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the library's name
        """Lose the line; that the disk is full is told by the journal."""
        del record


def _in_file(path: Path) -> logging.Handler:
    """A log that survives a restart and never takes more room than stated."""
    import structlog

    from agent.assembly import BadInput
    from agent.log_archive import LOG_FILE_BYTES, LOGS_ROTATED

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = _LogFile(
            path, maxBytes=LOG_FILE_BYTES, backupCount=LOGS_ROTATED, encoding="utf-8"
        )
    except OSError as error:
        raise BadInput(
            f"{path}: the log can't be written there ({error.strerror}); name another --state-dir"
        ) from error
    handler.setFormatter(
        _formatter(
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        )
    )
    return handler


def _formatter(*last: Any) -> logging.Formatter:
    import structlog

    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.processors.TimeStamper(fmt="iso"),
        ],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
    )
