"""`esp-collector profile`: looks at ESP profiles, changes them, and carries them over from and to Microsoft Graph."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from agent.wire.graph import GraphRefused, profile_to_graph
from agent.wire.vocabulary import EnrollmentType, Variant
from collector.client import Collector
from collector.commands.command_line import (
    EXIT_USAGE,
    Json,
    TokenFile,
    Url,
    ask_collector,
    check_device,
    fail,
    print_line,
)
from collector.files import ContentRefused, FileRefused, check, load, load_json, load_table
from collector.pages import text
from collector.pages.page import ProfileRow
from collector.profiles.setup import ProfileEntry, entry_from_graph

ProfileName = Annotated[str, typer.Argument(help="Its id or its name.")]
ProfileFile = Annotated[Path, typer.Argument(help="A TOML or JSON file with its settings.")]

profile_app = typer.Typer(
    help="List, show, explain, add, change, assign, order, switch off, delete, import and export ESP profiles.",
    no_args_is_help=True,
)


@profile_app.command("list")
def profile_list(url: Url = None, token_file: TokenFile = None, *, as_json: Json = False) -> None:
    """The ESP profiles, in the order in which they are looked at."""

    async def ask(collector: Collector) -> None:
        profiles = await collector.profiles()
        print_line(
            profiles.model_dump_json() if as_json else "\n".join(text.profile_lines(profiles))
        )

    ask_collector(url, token_file, ask)


@profile_app.command("show")
def profile_show(profile: ProfileName, url: Url = None, token_file: TokenFile = None) -> None:
    """Every setting of one profile, as JSON."""

    async def ask(collector: Collector) -> None:
        print_line((await _find(collector, profile)).model_dump_json(indent=2))

    ask_collector(url, token_file, ask)


async def _find(collector: Collector, profile: str) -> ProfileRow:
    rows = (await collector.profiles()).profiles
    found = [row for row in rows if profile in (row.id, row.name)]
    if not found:
        known = ", ".join(row.id for row in rows) or "none"
        fail(f"there is no profile '{profile}'; use one of: {known}", EXIT_USAGE)
    return found[0]


@profile_app.command("add")
def profile_add(file: ProfileFile, url: Url = None, token_file: TokenFile = None) -> None:
    """Create a profile from a TOML or JSON file.

    \b
    Example:
      esp-collector profile add kiosk.toml --token-file ./esp/collector/token
    """

    async def ask(collector: Collector) -> None:
        row = await collector.add_profile(load(file, ProfileEntry))
        print_line(f"added {row.id} with priority {row.priority}")

    ask_collector(url, token_file, ask)


@profile_app.command("import")
def profile_import(
    file: Annotated[Path, typer.Argument(help="A JSON file as Graph has it.")],
    group: Annotated[
        list[str] | None,
        typer.Option(help="A group that the profile is assigned to; may be given several times."),
    ] = None,
    url: Url = None,
    token_file: TokenFile = None,
) -> None:
    """Create a profile from the JSON of Microsoft Graph's windows10EnrollmentCompletionPageConfiguration.

    It keeps its priority. Graph names groups by ids that are not known here, so say again whom it is assigned to.

    \b
    Example:
      esp-collector profile import esp.json --group "All Devices"
    """

    async def ask(collector: Collector) -> None:
        row = await collector.add_profile(_graph_entry(file, tuple(group or ())))
        print_line(f"added {row.id} with priority {row.priority}")

    ask_collector(url, token_file, ask)


def _graph_entry(file: Path, groups: tuple[str, ...]) -> ProfileEntry:
    try:
        return check(ProfileEntry, entry_from_graph(load_json(file), groups))
    except (GraphRefused, ContentRefused) as refused:
        raise FileRefused(f"{file}: {refused}") from None


@profile_app.command("explain")
def profile_explain(
    device: Annotated[str, typer.Argument(help="The device id.")],
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

    \b
    Example:
      esp-collector profile explain DESKTOP-NEW001 --user jane.smith@company.com
    """
    check_device(device)
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
        print_line(answer.model_dump_json() if as_json else "\n".join(lines))

    ask_collector(url, token_file, ask)


@profile_app.command("export")
def profile_export(profile: ProfileName, url: Url = None, token_file: TokenFile = None) -> None:
    """One profile as the JSON that Microsoft Graph has for it.

    An imported profile comes back with everything that it had.
    """

    async def ask(collector: Collector) -> None:
        row = await _find(collector, profile)
        try:
            print_line(json.dumps(profile_to_graph(row.settings), indent=2))
        except GraphRefused as refused:
            fail(f"profile '{row.id}': {refused}", EXIT_USAGE)

    ask_collector(url, token_file, ask)


@profile_app.command("change")
def profile_change(
    profile: ProfileName, file: ProfileFile, url: Url = None, token_file: TokenFile = None
) -> None:
    """Change some settings of a profile: those that the TOML or JSON file names; all else stays.

    \b
    Example:
      esp-collector profile change kiosk-esp longer.toml
    """

    async def ask(collector: Collector) -> None:
        await _change(collector, profile, load_table(file))

    ask_collector(url, token_file, ask)


async def _change(collector: Collector, profile: str, patch: dict[str, Any]) -> None:
    row = await collector.change_profile((await _find(collector, profile)).id, patch)
    print_line(f"changed {row.id}; devices get it with their next attempt")


@profile_app.command("assign")
def profile_assign(
    profile: ProfileName,
    group: Annotated[
        list[str] | None, typer.Argument(help="All groups that it is assigned to from now on.")
    ] = None,
    url: Url = None,
    token_file: TokenFile = None,
) -> None:
    """Assign a profile to these groups and no others; to none when none is given.

    \b
    Example:
      esp-collector profile assign kiosk-esp "Kiosk Devices" Lobby
    """

    async def ask(collector: Collector) -> None:
        await _change(collector, profile, {"assigned_groups": group or []})

    ask_collector(url, token_file, ask)


@profile_app.command("off")
def profile_off(profile: ProfileName, url: Url = None, token_file: TokenFile = None) -> None:
    """Hand a profile out no more; attempts that have it keep it."""

    async def ask(collector: Collector) -> None:
        await _change(collector, profile, {"active": False})

    ask_collector(url, token_file, ask)


@profile_app.command("on")
def profile_on(profile: ProfileName, url: Url = None, token_file: TokenFile = None) -> None:
    """Hand a profile out again."""

    async def ask(collector: Collector) -> None:
        await _change(collector, profile, {"active": True})

    ask_collector(url, token_file, ask)


@profile_app.command("first")
def profile_first(profile: list[str], url: Url = None, token_file: TokenFile = None) -> None:
    """Look at these profiles first, in this order; the others come behind as they were, the default last.

    \b
    Example:
      esp-collector profile first executive-esp kiosk-esp
    """

    async def ask(collector: Collector) -> None:
        ids = [(await _find(collector, name)).id for name in profile]
        print_line(", ".join((await collector.order_profiles(ids)).profiles))

    ask_collector(url, token_file, ask)


@profile_app.command("delete")
def profile_delete(profile: ProfileName, url: Url = None, token_file: TokenFile = None) -> None:
    """Take a profile away; attempts that have it keep it, and the default stays."""

    async def ask(collector: Collector) -> None:
        row = await _find(collector, profile)
        await collector.delete_profile(row.id)
        print_line(f"deleted {row.id}")

    ask_collector(url, token_file, ask)
