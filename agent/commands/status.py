"""`esp-agent status`: one line about this device, and an exit code that says locked or not."""

from __future__ import annotations

import typer

from agent.commands.command_line import AsJson, Device, StateDir, fail, host_name, settings_of, told
from agent.exit_codes import ExitCode
from agent.settings import VERSION


def status(device: Device = None, state_dir: StateDir = None, as_json: AsJson = False) -> None:
    """Print one line about this device; the exit code is 3 while its gate is locked, and 0 once it is open.

    \b
    Example:
      esp-agent status --device LAPTOP-7
    """
    from agent import assembly, given
    from agent.core.retelling import Retelling, told_otherwise
    from agent.journal import ReadInputs, read_journal
    from agent.replay import last_progress
    from agent.screen.plain import plain_line
    from agent.wire.vocabulary import Gate

    with told():
        settings = settings_of(device=device, state_dir=state_dir)
        name = given.check_device(settings.device or host_name())
        path = assembly.journal_file(settings.state_dir.expanduser(), name)
        if not path.exists():
            fail(f"{path}: this device has not begun to enroll here", ExitCode.NOTHING_KNOWN)
        with read_journal(path) as reader:
            inputs = reader.inputs(name) if name in reader.devices() else ReadInputs(name, ())
    retelling = Retelling(inputs.entries, inputs.checkpoints)
    progress = last_progress(retelling)
    otherwise = told_otherwise(retelling, VERSION)
    for note in filter(None, (inputs.left_out, otherwise, inputs.missing)):
        typer.echo(f"{path}: {note}", err=True)
    if retelling.is_lost or inputs.missing:
        fail(f"{path}: where this device is now can't be told", ExitCode.FAILED_TO_RUN)
    if progress is None:
        fail(f"{path}: this device has not begun to enroll", ExitCode.NOTHING_KNOWN)
    typer.echo(progress.model_dump_json(exclude_none=True) if as_json else plain_line(progress))
    raise typer.Exit(ExitCode.LOCKED if progress.gate is Gate.LOCKED else ExitCode.OPEN)
