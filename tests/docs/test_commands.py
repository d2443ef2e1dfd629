"""Every command that the documents name exists, with the options that they give it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import pytest
import typer

from agent import cli as agent_cli
from agent.exit_codes import ExitCode
from broker_config import cli as broker_cli
from collector import cli as collector_cli
from simulator import cli as simulator_cli

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *sorted((ROOT / "docs").rglob("*.md"))]
PROGRAMS = {
    "esp-agent": agent_cli.app,
    "esp-broker": broker_cli.app,
    "esp-collector": collector_cli.app,
    "esp-sim": simulator_cli.app,
}
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")


def text_of(document: Path) -> str:
    return document.read_text()


def block_lines() -> list[tuple[str, str]]:
    """The lines of all shell blocks, with their documents."""
    return [
        (document.name, line)
        for document in DOCUMENTS
        for block in BLOCK.findall(text_of(document))
        for line in block.splitlines()
        if line.strip()
    ]


def spans() -> list[tuple[str, str]]:
    """Commands inside sentences, which may leave arguments out."""
    return [
        (document.name, span)
        for document in DOCUMENTS
        for span in SPAN.findall(BLOCK.sub("", text_of(document)))
        if span.split()[0] in PROGRAMS
    ]


def parsed(words: list[str]) -> tuple[click.Command, list[str]]:
    """The subcommand that the words name, and what is left for it."""
    command: click.Command = typer.main.get_command(PROGRAMS[words[0]])
    rest = words[1:]
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        context = click.Context(command)
        found = command.get_command(context, rest[0])
        assert found is not None, f"{words[0]} has no subcommand {rest[0]}"
        command, rest = found, rest[1:]
    return command, rest


@pytest.mark.parametrize(
    ("document", "line"),
    [(name, line) for name, line in block_lines() if line.split()[0] in PROGRAMS],
)
def test_a_command_in_a_block_parses(document: str, line: str) -> None:
    """The whole line: subcommand, options, values and arguments."""
    words = shlex.split(line, comments=True)
    command, rest = parsed(words)
    assert not isinstance(command, click.Group), f"{line}: no subcommand"
    # Parsing calls back eager options only; nothing is run.
    with command.make_context(words[0], rest) as context:
        assert context.params is not None


@pytest.mark.parametrize(("document", "span"), spans())
def test_a_command_in_a_sentence_exists(document: str, span: str) -> None:
    """The subcommand, and each option that is mentioned."""
    command, rest = parsed(shlex.split(span))
    known = {
        name
        for parameter in command.params
        for name in (*parameter.opts, *parameter.secondary_opts)
    }
    mentioned = {word for word in rest if word.startswith("--")}
    assert mentioned <= known


def test_make_targets_exist() -> None:
    """`make demo` and the like are targets of the Makefile."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {line.split()[1] for _, line in block_lines() if line.startswith("make ")}
    assert named
    assert named <= targets


def test_links_lead_somewhere() -> None:
    """Each relative link of each document is a file, and its anchor a heading there."""
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#:]*)(?:#[^)]*)?\)", text_of(document)):
            if target:
                assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_files_that_commands_name_exist() -> None:
    """Scenarios and examples are where the documents say."""
    for name, line in block_lines():
        for word in shlex.split(line, comments=True):
            if word.startswith(("simulator/", "docs/")):
                assert (ROOT / word).exists(), f"{name}: {word}"


def test_the_agents_exit_codes_are_listed() -> None:
    """The page has each code, with the meaning that `--help` prints."""
    page = text_of(ROOT / "docs" / "exit-codes.md")
    for code in ExitCode:
        assert f"| {code.value} | {code.name} | {code.meaning} |" in page


def commands_below(command: click.Command, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The words of this command and of all below it."""
    yield words
    for name, below in command.commands.items() if isinstance(command, click.Group) else ():
        yield from commands_below(below, (*words, name))


def said(words: Sequence[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What a program prints before it ends with exit code 0."""
    with pytest.raises(SystemExit) as ended:
        typer.main.get_command(PROGRAMS[words[0]]).main(words[1:], prog_name=words[0])
    assert ended.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_program_explains_itself(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`--version`, and `-h` of the program and of each command at any depth: plain text, with no sentence cut off."""
    assert said([program, "--version"], capsys).startswith(f"{program} ")
    for words in commands_below(typer.main.get_command(PROGRAMS[program]), (program,)):
        page = said([*words, "-h"], capsys)
        assert "Show this message and exit." in page
        assert not re.search(r"\\\[|╭|[a-z]\.\.\.$", page, re.MULTILINE), page


@pytest.mark.parametrize("program", PROGRAMS)
def test_examples_of_help_pages_can_be_copied(
    program: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each is a whole command on a line of its own, which parses."""
    for words in commands_below(typer.main.get_command(PROGRAMS[program]), (program,)):
        for line in re.findall(rf"^ +({program} .*)$", said([*words, "-h"], capsys), re.MULTILINE):
            command, rest = parsed(shlex.split(line.partition(" > ")[0]))
            with command.make_context(program, rest) as context:
                assert context.params is not None
