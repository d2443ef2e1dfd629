"""`esp-agent explain`: how an assignment would act on a device, and why."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.commands.command_line import (
    AsJson,
    check_variant,
    platform_of,
    settings_of,
    told,
    with_profile,
)
from agent.settings import VERSION, AgentSettings
from agent.wire.vocabulary import EnrollmentType, Variant

if TYPE_CHECKING:
    from agent.core.explanation import Explanation
    from agent.wire.assignment import Admitted, Refused


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

    \b
    Example:
      esp-agent explain --assignment docs/examples/assignment.json --platform windows_autopilot
    """
    from agent import given
    from agent.core.explanation import EXPLANATION_CODEC, explanation_lines, wrapped
    from agent.wire.assignment import Refused

    with told():
        settings = settings_of(platform=platform, os_version=os_version)
        decision = with_profile(given.load_assignment(assignment).decision, profile)
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


def _explained(
    settings: AgentSettings, variant: Variant, admitted: Admitted, file: Path
) -> Explanation:
    from agent.core.events import DeviceFacts
    from agent.core.explanation import asks_for_version, explain
    from agent.given import BadInput

    platform = platform_of(settings)
    check_variant(platform, variant)
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


def _tell_refusal(refused: Refused, *, as_json: bool) -> None:
    failure = refused.failure
    if as_json:
        typer.echo(refused.model_dump_json())
        return
    typer.echo(f"The device is refused with {failure.code}: {failure.engineer}")
    typer.echo("It shows the reason, and nothing is installed.")
