"""`esp-agent watch`: the screen of another device, from its retained status."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.commands.command_line import AsJson, Broker, Tenant, fail, settings_of, told
from agent.commands.log_output import log_to
from agent.commands.loop import on_a_loop
from agent.exit_codes import ExitCode
from agent.settings import AgentSettings

if TYPE_CHECKING:
    from agent.assembly import WatchPlan
    from agent.runtime.watcher import Watcher
    from agent.wire.progress import Progress, Reporting


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
      esp-agent watch LAPTOP-7 --identity ./esp/broker/identities/help-desk.json
      esp-agent watch LAPTOP-7 --broker mqtt://127.0.0.1:1883 --once --json
    """
    with told():
        settings = settings_of(broker=broker, identity=identity, tenant=tenant)
        plan = _watch_plan(settings, device)
    once = once or as_json or not sys.stdout.isatty()
    log_to(settings.log_level if once else "CRITICAL")
    with told():
        found = on_a_loop(_watch(plan, once=once, wait_s=wait))
    if once:
        _tell_snapshot(device, found, as_json=as_json)


def _watch_plan(settings: AgentSettings, device: str) -> WatchPlan:
    from agent import assembly, given

    name = given.check_device(device)
    account = given.load_watching_account(settings.identity) if settings.identity else None
    broker = settings.broker or (account.broker if account else None)
    if broker is None:
        raise given.BadInput("--broker is missing; name the broker that the device reports to")
    return assembly.WatchPlan(
        device=name,
        tenant=settings.tenant or (account.tenant if account else assembly.DEFAULT_TENANT),
        broker=given.parse_broker(broker),
        account=account,
        account_file=settings.identity,
    )


async def _watch(
    plan: WatchPlan, *, once: bool, wait_s: float
) -> tuple[Progress, Reporting] | None:
    from agent.assembly import build_watcher
    from agent.runtime.watcher import first_snapshot

    watcher = build_watcher(plan)
    if once:
        found = await first_snapshot(watcher, wait_s)
        if found is None and not watcher.is_connected:
            fail(
                f"nothing was heard of '{plan.device}': no connection to the broker within {wait_s:g} seconds; "
                "check that it runs, and --broker",
                ExitCode.NOTHING_KNOWN,
            )
        return found
    await _watch_on_screen(watcher)
    return None


async def _watch_on_screen(watcher: Watcher) -> None:
    from agent.screen.app import EspApp
    from agent.screen_sources import WatcherSource

    await EspApp(WatcherSource(watcher), watching=True).run_async()


def _tell_snapshot(device: str, found: tuple[Progress, Reporting] | None, *, as_json: bool) -> None:
    from agent.screen.plain import plain_page

    if found is None:
        fail(f"nothing was heard of '{device}' in time; is the name right?", ExitCode.NOTHING_KNOWN)
    progress, reporting = found
    if as_json:
        both = {
            "progress": progress.model_dump(mode="json", exclude_none=True),
            "reporting": reporting.model_dump(mode="json", exclude_none=True),
        }
        typer.echo(json.dumps(both))
    else:
        typer.echo(plain_page(progress, reporting))
