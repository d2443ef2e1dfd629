"""`esp-agent run`: enrolls this endpoint, with the screen or without."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.commands.command_line import (
    AsJson,
    Broker,
    Device,
    IdentityFile,
    StateDir,
    Tenant,
    check_variant,
    host_name,
    platform_of,
    settings_of,
    told,
    with_profile,
)
from agent.commands.log_output import log_to
from agent.commands.loop import on_a_loop, stop_on_signals
from agent.exit_codes import exit_code_of
from agent.settings import AgentSettings
from agent.wire.vocabulary import EnrollmentType, PersonAction, Variant

if TYPE_CHECKING:
    from agent.assembly import Agent, AgentPlan
    from agent.runtime.driver import Driver, Outcome
    from agent.wire.progress import Progress


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
    endpoint: Annotated[
        str | None, typer.Option(help="What carries out the steps. [default: simulated]")
    ] = None,
    speed: Annotated[
        float | None,
        typer.Option(help="Device time per real time, for a simulated endpoint. [default: 1]"),
    ] = None,
    seed: Annotated[
        int, typer.Option(help="Of a simulated endpoint: another seed takes other times.")
    ] = 0,
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

    with told():
        settings = settings_of(
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
        log_to(settings.log_level, file=plan.log_file, on_stderr=not has_screen)
        agent = assembly.build_agent(plan)
        outcome = on_a_loop(
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


def _plan(
    settings: AgentSettings,
    assignment: Path | None,
    profile: Path | None,
    variant: Variant,
    seed: int,
    exit_on_release: bool,
) -> AgentPlan:
    from agent import assembly, given

    platform = platform_of(settings)
    check_variant(platform, variant)
    identity = given.load_identity(settings.identity) if settings.identity else None
    local = given.load_assignment(assignment) if assignment else None
    broker = settings.broker or (identity.broker if identity else None)
    if local is None and broker is None:
        raise given.BadInput(
            "--broker is missing; name a broker to enroll over, or give --assignment FILE to work without one"
        )
    decision = None if local is None else with_profile(local.decision, profile)
    if local is None and profile is not None:
        raise given.BadInput(
            "--profile goes with --assignment; give both, or leave it to the collector"
        )
    named = settings.device or (identity.device if identity else None) or (local and local.device)
    return assembly.AgentPlan(
        device=given.check_device(named or host_name()),
        enrollment_type=platform,
        variant=variant,
        user=settings.user,
        os_version=settings.os_version,
        tenant=settings.tenant or (identity.tenant if identity else assembly.DEFAULT_TENANT),
        broker=given.parse_broker(broker) if broker else None,
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


def _set_aside(path: Path) -> None:
    from agent.journal import set_aside

    if path.exists():
        typer.echo(f"kept the old journal as {set_aside(path)}", err=True)


async def _run(
    agent: Agent, *, has_screen: bool, yes: bool, emergency_exit: bool, exit_on_release: bool
) -> Outcome:
    driver = agent.driver
    stop_on_signals(driver.stop)
    companions = [asyncio.create_task(answer_screens(driver), name="answers")] if yes else []
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
    from agent.screen.app import EspApp
    from agent.screen_sources import DriverSource
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


async def answer_screens(driver: Driver) -> None:
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
