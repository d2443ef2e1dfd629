"""`esp-sim whatif` asked about several versions of a scenario: what it prints, writes and refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agent.wire.vocabulary import EndState, EnrollmentType, FailureKind, Variant
from simulator.cli import app
from simulator.commands import question
from simulator.population import cohorts
from simulator.scenario_file import SHIPPED, load_scenario
from simulator.tally import Tally
from simulator.whatif.advice import _OF_REASON, advice
from simulator.whatif.figures import Label, figures_of, labels_of
from simulator.whatif.overrides import overridden, read_change, read_changes
from simulator.whatif.run import run_cohorts

DEMO = str(SHIPPED / "demo.toml")
SMALL = ("--devices", "40", "--seed", "5", "--jobs", "1")


def call(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner(mix_stderr=False).invoke(app, ["whatif", DEMO, *SMALL, *arguments])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def other(tmp_path: Path) -> str:
    """The demo with a longer timeout, as a file of its own."""
    path = tmp_path / "other.toml"
    text = Path(DEMO).read_text(encoding="utf-8")
    longer = re.sub(r"^timeout_minutes = \d+", "timeout_minutes = 200", text, flags=re.MULTILINE)
    assert longer != text
    path.write_text(longer, encoding="utf-8")
    return str(path)


def test_a_scenario_is_compared_with_another(other: str) -> None:
    code, out, _ = call("--compare", other)
    assert code == 0
    assert "40 devices, seed 5, as it is and after changing to other.toml" in out
    assert "• Changing to other.toml" in out
    assert max(map(len, out.splitlines())) <= 80


def test_another_file_and_a_change_come_to_the_same(other: str) -> None:
    """And to what `--with` changes in the other file."""
    compared = [
        json.loads(call("--json", *arguments)[1])["compare"]
        for arguments in (
            ["--compare", other],
            ["--with", "timeout=200"],
            ["--compare", other, "--with", "timeout=200"],
        )
    ]
    changes = [entry.pop("change") for entry in compared]
    assert changes[0] == "changing to other.toml"
    assert changes[1] == "setting timeout to 200"
    assert changes[2] == "changing to other.toml with timeout=200"
    for entry in compared:
        entry.pop("verdict")
    assert compared[0] == compared[1] == compared[2]


def test_a_comparison_has_the_agreed_figures_and_its_own() -> None:
    code, out, _ = call("--with", "timeout=200", "--json")
    figures = json.loads(out)
    assert code == 0
    agreed = {"devices", "seed", "by_type", "critical_path", "events", "seconds", "trace"}
    assert agreed <= figures.keys()
    assert figures["compare"]["devices"] == 40
    assert figures["trace"] != figures["compare"]["other"]["trace"]


def test_a_sweep_is_a_table() -> None:
    code, out, _ = call("--sweep", "timeout=5,200")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines() if line[:1].isdigit()][1:3] == ["5", "200"]
    assert max(map(len, out.splitlines())) <= 80
    figures = json.loads(call("--sweep", "timeout=5,200", "--json")[1])
    assert [row["value"] for row in figures["sweep"]["values"]] == [5, 200]


def test_with_changes_what_is_swept() -> None:
    plain = json.loads(call("--sweep", "timeout=5,200", "--json")[1])["sweep"]["values"]
    slow = json.loads(
        call("--sweep", "timeout=5,200", "--with", "network.megabits_per_second=2", "--json")[1]
    )["sweep"]["values"]
    assert slow[0]["timeouts"] > plain[0]["timeouts"]


def test_a_search_says_what_it_found() -> None:
    code, out, _ = call("--find", "timeout", "--success", "20")
    assert code == 0
    assert "• The smallest timeout that reaches 20.00% is " in out
    code, out, _ = call("--find", "timeout", "--success", "100")
    assert code == 0
    assert "• No timeout from 1 to 1440 reaches 100.00%: even 1440 comes to " in out


def test_any_number_can_be_searched_for() -> None:
    asked = ("--find", "apps.m365-apps.time.median_s=60..36000", "--success", "60")
    code, out, err = call(*asked)
    assert (code, err.strip()) == (0, "")
    assert "the largest apps.m365-apps.time.median_s" in out
    assert "never lets more enrollments succeed, as the ends of the range suggest." in " ".join(
        out.split()
    )
    figures = json.loads(call(*asked, "--json")[1])
    assert list(figures) == ["title", "devices", "seed", "find", "seconds"]
    found, rows = figures["find"]["found"], figures["find"]["tried"]
    rates = {row["value"]: row["success_rate"] for row in rows}
    assert rates[found] >= 0.6 > rates[found + 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--with", "timeout"], "'timeout': write KEY=VALUE"),
        (["--with", "timeout=0"], "it has to be at least 1"),
        (["--sweep", "timeout=5,0"], "timeout=0: profiles[0].profile.timeout_minutes: 0 is out"),
        (["--sweep", "timeout=5"], "write KEY=VALUE,VALUE,..."),
        (["--find", "timeout"], "--find and --success belong together"),
        (["--success", "98"], "--find and --success belong together"),
        (["--find", "seed", "--success", "98"], "--find seed: write between which values to look"),
        (
            ["--find", "seed=1..5", "--success", "98"],
            "the same for every version; give it with --seed",
        ),
        (["--find", "timeout=0..5", "--success", "98"], "it has to be at least 1"),
        (
            ["--find", "timeout=5.5..9", "--success", "98"],
            "timeout=5.5: profiles[0].profile.timeout_",
        ),
        (["--find", "title=1..5", "--success", "98"], "title=1: "),
        (
            ["--sweep", "devices=10,20"],
            "devices is the same for every version; give it with --devices",
        ),
        (["--with", "seed=4"], "seed=4: seed is the same for every version; give it with --seed"),
        (["--sweep", "timeout=5,6", "--compare", DEMO], "ask one at a time"),
        (["--compare", "nowhere.toml"], "nowhere.toml: there is no such file"),
        (["--find", "timeout", "--success", "9", "--shard", "1/2"], "or divide a --sweep"),
        (["--find", "timeout", "--success", "9", "--out", "x.json"], "leave out --shard and --out"),
        (["--report", DEMO], "is a file; name a folder"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(arguments: list[str], message: str) -> None:
    code, out, err = call(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("esp-sim: ")
    assert message in err
    assert err.count("\n") == 1


def test_without_the_chart_library_the_remedy_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(question, "find_spec", lambda _: None)
    code, _, err = call("--report", str(tmp_path / "report"))
    assert code == 2
    assert (
        err == "esp-sim: --report needs the library matplotlib; install enrollment-agent[report]\n"
    )
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize("arguments", [[], ["--with", "timeout=200"], ["--sweep", "timeout=5,9"]])
def test_a_report_is_written_beside_what_is_printed(arguments: list[str], tmp_path: Path) -> None:
    code, out, _ = call(*arguments, "--json", "--report", str(tmp_path / "new" / "report"))
    assert code == 0
    kept = json.loads((tmp_path / "new" / "report" / "figures.json").read_text())
    printed = json.loads(out)
    printed.pop("seconds")
    assert kept == printed
    assert (tmp_path / "new" / "report" / "index.html").exists()


def test_a_folder_that_can_not_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, _, err = call("--report", str(tmp_path / "file" / "report"))
    assert code == 2
    assert "can't be written" in err
    assert "Traceback" not in err


# --- what to do ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["company", "demo", "variants"])
def test_what_to_do_next_can_be_done(name: str) -> None:
    """Every option that is advised is one that the scenario has a key for."""
    scenario = load_scenario(SHIPPED / f"{name}.toml")
    tally = run_cohorts(scenario, 5, cohorts(scenario, 5, 150))
    found = advice(figures_of(tally, labels_of(scenario)))
    assert 1 <= len(found) <= 4
    for entry in (*found, *_OF_REASON.values()):
        if not entry.options:
            continue
        option, text = entry.options.split(" ", 1)
        if option == "--with":
            overridden(scenario, [read_change(text)], text)
        else:
            assert option == "--sweep"
            key, values = read_changes(text)
            for value in values:
                overridden(scenario, [(key, value)], text)


def test_the_most_frequent_reasons_come_first() -> None:
    tally = Tally()
    part = tally.of_variant(EnrollmentType.IOS, Variant.STANDARD)
    for kind, count in (
        (FailureKind.USER_CANCELLED, 1),
        (FailureKind.DEVICE_LIMIT_EXCEEDED, 1200),
        (FailureKind.NOT_DETECTED, 3),
    ):
        for _ in range(count):
            part.ended(EndState.FAILED, 0, kind)
    tally.items.ended_by["vpn", FailureKind.NOT_DETECTED, "0x1"] = 3
    found = advice(figures_of(tally, {"vpn": Label("VPN Client", "app")}))
    limit, missing = (entry.sentence for entry in found)
    assert limit.startswith("Device limit exceeded, 1,200 attempts: remove devices that ")
    assert missing == "Not detected after installing, 3 attempts: look at VPN Client."
