"""What the commands have in common: flags, settings, and errors told in one sentence."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from pydantic import ValidationError

from agent.exit_codes import ExitCode
from agent.settings import AgentSettings
from agent.wire.vocabulary import EnrollmentType, Variant

Device = Annotated[
    str | None, typer.Option(help="The device id; by default the identity's, or the host name.")
]
StateDir = Annotated[
    Path | None, typer.Option(help="Where the journal is kept. [default: ~/.local/state/esp-agent]")
]
Broker = Annotated[str | None, typer.Option(help="mqtt://host:port, or mqtts://host:port for TLS.")]
IdentityFile = Annotated[
    Path | None, typer.Option(help="The identity file that `esp-broker device` wrote.")
]
Tenant = Annotated[str | None, typer.Option(help="The tenant; by default the identity's.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, for programs.")]


def settings_of(**given: Any) -> AgentSettings:
    """The settings of the environment, under what was given on the command line."""
    try:
        return AgentSettings(**{k: v for k, v in given.items() if v is not None})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = str(first["loc"][0])
        flag = f"--{name.replace('_', '-')}, or the variable ESP_AGENT_{name.upper()}"
        fail(f"{flag}: {first['msg']}; correct it")


def platform_of(settings: AgentSettings) -> EnrollmentType:
    """How this endpoint enrolls. Raises `BadInput` when nobody said so."""
    from agent.given import BadInput

    if settings.platform is None:
        kinds = ", ".join(kind.value for kind in EnrollmentType)
        raise BadInput(f"--platform is missing; say how this endpoint enrolls: {kinds}")
    return settings.platform


def check_variant(platform: EnrollmentType, variant: Variant) -> None:
    """Raises `BadInput` when this type has no such variant."""
    from agent import given
    from agent.core.flows import flow_of

    try:
        flow_of(platform, variant)
    except ValueError as error:
        raise given.BadInput(f"--variant: {error}") from None


def with_profile(decision: Any, profile: Path | None) -> Any:
    """The decision of an assignment, with the ESP profile of a file in the place of its own. Raises `BadInput`."""
    from agent import given
    from agent.wire.assignment import Admitted

    if profile is None:
        return decision
    if not isinstance(decision, Admitted):
        raise given.BadInput(
            "--profile: the assignment refuses the device, so there is no profile to replace"
        )
    return decision.model_copy(update={"profile": given.load_profile(profile)})


def host_name() -> str:
    """The host's name, as far as a device id may hold it."""
    kept = "".join(c if c.isalnum() and c.isascii() else "-" for c in socket.gethostname()[:64])
    return kept.strip("-") or "device"


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Turn what a person can correct into one sentence and an exit code."""
    from agent.given import BadInput
    from agent.runtime.ports import JournalFailed, JournalUnreadable, TransportRefused

    try:
        yield
    except BadInput as error:
        fail(str(error))
    except JournalUnreadable as error:
        fail(str(error), ExitCode.FAILED_TO_RUN)
    except JournalFailed as error:
        fail(
            f"stopped while the journal could not be written ({error}); what was not stored was not done: "
            "make room on the disk, and start the agent again",
            ExitCode.FAILED_TO_RUN,
        )
    except TransportRefused as error:
        fail(
            f"the broker refuses this program ({error}); name an --identity that may look",
            ExitCode.FAILED_TO_RUN,
        )


def fail(sentence: str, code: ExitCode = ExitCode.BAD_INPUT) -> NoReturn:
    """End the program with one sentence on stderr."""
    typer.echo(f"esp-agent: {sentence}", err=True)
    raise typer.Exit(code)
