"""The import rule holds, breaking it is noticed, and what a program loads at run time agrees with it."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
CONFIGURATION = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["importlinter"]
CONTRACT_NAMES = {contract["id"]: contract["name"] for contract in CONFIGURATION["contracts"]}

# For each contract the module that is made to break it, and the import that does.
VIOLATIONS = {
    "wire": ("agent.wire", "socket"),
    "core": ("agent.core", "random"),
    "runtime": ("agent.runtime", "ssl"),
    "transport": ("agent.mqtt_transport", "structlog"),
    "journal": ("agent.journal", "sqlalchemy"),
    "log-archive": ("agent.log_archive", "pydantic"),
    "signatures": ("agent.signatures", "structlog"),
    "screen": ("agent.screen", "agent.core"),
    "adapters": ("agent.screen", "agent.journal"),
    "only-aiomqtt": ("agent.assembly", "aiomqtt"),
    "only-sqlite": ("agent.assembly", "sqlite3"),
    "only-signatures": ("agent.cli", "jwt"),
    "only-textual": ("agent.cli", "textual"),
    "agent": ("agent.settings", "collector"),
    "endpoint": ("agent.assembly", "fastapi"),
    "broker": ("broker_config", "agent.core"),
    "collector": ("collector", "agent.screen"),
    "board": ("collector.board", "agent.runtime"),
    "collector-program": ("collector.cli", "agent.assembly"),
    "collector-pure": ("collector.intake", "sqlalchemy"),
    "collector-rooms": ("collector.store", "collector.upkeep"),
    "simulator": ("simulator", "agent.runtime"),
    "live": ("simulator.live", "broker_config"),
    "gate-audit": ("simulator.live.gate_audit", "agent.core"),
}

# `socket` is no witness here: pydantic reads its plugins' metadata with a standard module that loads it.
REACHES_THE_WORLD = {"aiomqtt", "asyncio", "sqlite3", "ssl", "structlog", "textual"}
FLEET = {"broker_config", "collector", "simulator"}
NOT_FOR_HEADLESS = {"amqtt", "fastapi", "sqlalchemy", "textual", "uvicorn"}


def lint_imports(folder: Path, *contract_ids: str) -> subprocess.CompletedProcess[str]:
    """Run the check as `make lint` does, with lines wide enough for the longest contract name."""
    only = [argument for contract_id in contract_ids for argument in ("--contract", contract_id)]
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-logo", "--no-cache", *only],
        cwd=folder,
        env={**os.environ, "COLUMNS": "500", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def source_of(module: str, folder: Path) -> Path:
    """The file of a module, whether it is a module or has grown into a package."""
    path = folder.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def modules_loaded_by(code: str) -> set[str]:
    """The names in `sys.modules` after running `code` in a fresh interpreter."""
    report = "import json, sys; print('\\n' + json.dumps(list(sys.modules)))"
    finished = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(finished.stdout.splitlines()[-1]))


def ending_well(*command_line: str) -> str:
    """Code that runs the agent's program in its own interpreter and insists on exit code 0."""
    return (
        "import sys\n"
        "from agent.cli import main\n"
        f"sys.argv = {list(command_line)!r}\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as ended:\n"
        "    assert not ended.code, ended.code\n"
    )


def imports_in(source: Path) -> Iterator[str]:
    """The top-level names that a file imports anywhere in it, functions included."""
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


@pytest.fixture
def copy_of_the_packages(tmp_path: Path) -> Path:
    """The packages, the contracts and their type, to break without touching the originals."""
    for package in CONFIGURATION["root_packages"]:
        shutil.copytree(
            REPOSITORY / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    for file in ("pyproject.toml", "tests/__init__.py", "tests/architecture/import_contracts.py"):
        target = tmp_path / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(REPOSITORY / file, target)
    return tmp_path


def test_the_repository_keeps_every_contract() -> None:
    checked = lint_imports(REPOSITORY)

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"Contracts: {len(CONTRACT_NAMES)} kept, 0 broken" in checked.stdout


def test_every_contract_has_a_violation_to_prove_it() -> None:
    assert VIOLATIONS.keys() == CONTRACT_NAMES.keys()


@pytest.mark.parametrize("contract_id", VIOLATIONS)
def test_a_planted_violation_breaks_its_contract(
    contract_id: str, copy_of_the_packages: Path
) -> None:
    module, imported = VIOLATIONS[contract_id]
    with source_of(module, copy_of_the_packages).open("a") as source:
        source.write(f"\nimport {imported}\n")

    checked = lint_imports(copy_of_the_packages, contract_id)

    assert checked.returncode == 1, checked.stdout + checked.stderr
    assert f"{CONTRACT_NAMES[contract_id]} BROKEN" in checked.stdout
    # A cycle is told by the last names of the two, each behind a dot.
    told = checked.stdout.replace(" .", " collector.")
    assert re.search(rf"{re.escape(module)}\b.*\b{re.escape(imported)}\b", told)


def test_an_import_inside_a_function_is_a_violation_too(copy_of_the_packages: Path) -> None:
    with source_of("agent.core", copy_of_the_packages).open("a") as source:
        source.write("\ndef late() -> None:\n    import asyncio\n")

    checked = lint_imports(copy_of_the_packages, "core")

    assert "agent.core may not import asyncio" in checked.stdout


def test_a_contract_about_a_module_that_is_gone_fails(copy_of_the_packages: Path) -> None:
    configuration = copy_of_the_packages / "pyproject.toml"
    text = configuration.read_text()
    configuration.write_text(text.replace('modules = ["agent.core"]', 'modules = ["agent.gone"]'))

    checked = lint_imports(copy_of_the_packages, "core")

    assert checked.returncode == 1
    assert "Module 'agent.gone' does not exist." in checked.stdout + checked.stderr


def test_importing_the_agents_programs_loads_no_screen_and_no_fleet() -> None:
    loaded = modules_loaded_by("import agent.assembly, agent.cli")

    assert loaded & (FLEET | NOT_FOR_HEADLESS) == set()


@pytest.mark.parametrize("command", ["run", "status"])
def test_asking_a_headless_command_for_help_loads_no_screen_and_no_fleet(command: str) -> None:
    loaded = modules_loaded_by(ending_well("esp-agent", command, "--help"))

    assert loaded & (FLEET | NOT_FOR_HEADLESS) == set()


def test_a_headless_enrollment_loads_no_screen_and_no_server(tmp_path: Path) -> None:
    loaded = modules_loaded_by(
        ending_well(
            *("esp-agent", "run", "--platform", "windows_autopilot", "--user", "ann@example.com"),
            *("--assignment", "docs/examples/assignment.json", "--state-dir", str(tmp_path)),
            *("--endpoint", "simulated", "--speed", "5000", "--no-screen", "--exit-on-release"),
        )
    )

    assert "agent.runtime.driver" in loaded
    assert loaded & NOT_FOR_HEADLESS == set()


@pytest.mark.parametrize("machine", ["enrollment", "link", "outbox"])
def test_importing_a_machine_loads_nothing_that_reaches_the_world(machine: str) -> None:
    loaded = modules_loaded_by(f"import agent.core.{machine}")

    assert loaded & REACHES_THE_WORLD == set()


@pytest.mark.parametrize(
    ("library", "home"),
    [
        ("aiomqtt", "mqtt_transport"),
        ("sqlite3", "journal"),
        ("jwt", "signatures"),
        ("cryptography", "signatures"),
        ("textual", "screen"),
    ],
)
def test_in_the_agent_a_foreign_library_has_one_home(library: str, home: str) -> None:
    agent = REPOSITORY / "agent"
    importers = {
        source.relative_to(agent).parts[0].removesuffix(".py")
        for source in agent.rglob("*.py")
        if library in imports_in(source)
    }

    assert importers <= {home}
