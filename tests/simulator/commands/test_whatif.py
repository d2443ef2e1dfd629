from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from simulator.cli import app
from simulator.scenario_file import SHIPPED

COMPANY = str(SHIPPED / "company.toml")
MANIFEST = Path(__file__).parents[3] / "docs/examples/kubernetes/whatif-job.yaml"
PROGRAM = (sys.executable, "-m", "simulator")
INTERRUPTED = 130
BOUND_S = 2.0


def call(*arguments: str, environment: dict[str, str] | None = None) -> tuple[int, str, str]:
    result = CliRunner(mix_stderr=False).invoke(app, list(arguments), env=environment)
    return result.exit_code, result.stdout, result.stderr


def without_seconds(printed: str) -> str:
    figures, seconds = printed.rsplit(', "seconds": ', 1)
    assert float(seconds.rstrip("}\n")) >= 0
    return figures


# --- shards ---------------------------------------------------------------------------------------


def test_merge_prints_and_keeps_the_bytes_of_the_single_run(tmp_path: Path) -> None:
    fleet = (COMPANY, "--devices", "230", "--jobs", "1", "--json")
    single = call("whatif", *fleet, "--out", str(tmp_path / "single.json"))
    shards = [str(tmp_path / f"{n}.json") for n in (1, 2, 3)]
    for number, shard in enumerate(shards, 1):
        assert call("whatif", *fleet, "--shard", f"{number}/3", "--out", shard)[0] == 0
    code, out, err = call("merge", *shards[::-1], "--json", "--out", str(tmp_path / "merged.json"))
    assert (code, err) == (0, "")
    assert without_seconds(out) == without_seconds(single[1])
    assert (tmp_path / "merged.json").read_bytes() == (tmp_path / "single.json").read_bytes()


@pytest.mark.parametrize(
    "asked", [["--with", "timeout=20"], ["--sweep", "timeout=20,1440"]], ids=["with", "sweep"]
)
def test_merge_says_keeps_and_reports_what_the_single_run_does(
    asked: list[str], tmp_path: Path
) -> None:
    fleet = ("whatif", COMPANY, "--devices", "60", "--jobs", "1", *asked)
    single, merged = tmp_path / "single", tmp_path / "merged"
    keeping = ("--out", f"{single}.json", "--report", str(single))
    words = call(*fleet, *keeping)[1]
    shards = [str(tmp_path / f"{n}.json") for n in (1, 2)]
    for number, shard in enumerate(shards, 1):
        code, _, err = call(*fleet, "--shard", f"{number}/2", "--out", shard)
        assert (code, err.strip()) == (0, "")
    code, out, err = call("merge", *shards, "--out", f"{merged}.json", "--report", str(merged))
    assert (code, err) == (0, "")
    assert out.splitlines()[:-1] == words.splitlines()[:-1], "the last line has the seconds"
    assert Path(f"{merged}.json").read_bytes() == Path(f"{single}.json").read_bytes()
    files = {path.name: path.read_bytes() for path in single.iterdir()}
    assert files == {path.name: path.read_bytes() for path in merged.iterdir()}
    assert "index.html" in files


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["merge", "no.json"], "esp-sim: no.json: can't be read: No such file or directory\n"),
        (["merge", "no.json", "--report", COMPANY], "is a file; name a folder"),
        (["whatif", COMPANY, "--shard", "5/4"], "esp-sim: --shard 5/4: write which shard of how "),
        (
            ["whatif", COMPANY, "--dask", "tcp://127.0.0.1:1", "--jobs", "2"],
            "esp-sim: --jobs counts processes on this machine, and --dask has",
        ),
        (
            ["whatif", COMPANY, "--devices", "1", "--jobs", "1", "--out", "no/such/folder/1.json"],
            "esp-sim: --out no/such/folder/1.json: can't be written: No such file or directory; ",
        ),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = call(*arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert "Traceback" not in err


# --- the example of an indexed Job ----------------------------------------------------------------


@pytest.fixture
def job() -> dict[str, Any]:
    yaml = pytest.importorskip("yaml")
    loaded: dict[str, Any] = yaml.safe_load(MANIFEST.read_text(encoding="utf-8"))
    return loaded


def test_the_job_has_as_many_completions_as_shards(job: dict[str, Any]) -> None:
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    spec = job["spec"]
    assert spec["completionMode"] == "Indexed"
    assert spec["parallelism"] <= spec["completions"]
    container = spec["template"]["spec"]["containers"][0]
    environment = {entry["name"]: entry for entry in container["env"]}
    assert environment["ESP_SIM_SHARDS"]["value"] == str(spec["completions"])
    index = environment["JOB_COMPLETION_INDEX"]["valueFrom"]["fieldRef"]["fieldPath"]
    assert index == "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    assert {m["name"] for m in container["volumeMounts"]} == {
        volume["name"] for volume in spec["template"]["spec"]["volumes"]
    }


def test_the_job_keeps_the_rules_that_kubernetes_has_for_indexed_jobs(job: dict[str, Any]) -> None:
    """What the API refuses although each field is known: https://kubernetes.io/docs/concepts/workloads/controllers/job."""
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    known = {"completionMode", "completions", "parallelism", "backoffLimitPerIndex", "template"}
    assert spec.keys() == known
    assert all(type(spec[key]) is int for key in known - {"completionMode", "template"})
    assert pod["restartPolicy"] == "Never", "backoffLimitPerIndex asks for it"
    (container,) = pod["containers"]
    assert all(isinstance(word, str) for word in (*container["command"], *container["args"]))
    assert all(isinstance(entry.get("value", ""), str) for entry in container["env"])
    assert all(len(volume.keys() - {"name"}) == 1 for volume in pod["volumes"])
    uid = pod["securityContext"]["runAsUser"]
    assert type(uid) is int
    assert uid > 0, "runAsNonRoot refuses 0"


def test_the_pods_of_the_job_write_what_merge_takes(job: dict[str, Any], tmp_path: Path) -> None:
    container = job["spec"]["template"]["spec"]["containers"][0]
    assert container["command"] == ["esp-sim"]
    shards = int(job["spec"]["completions"])
    for index in range(shards):
        arguments = [
            argument.replace("/scenario/scenario.toml", COMPANY)
            .replace("/shards", str(tmp_path))
            .replace("--devices=1000000", "--devices=130")
            .replace("$(JOB_COMPLETION_INDEX)", str(index))
            for argument in container["args"]
        ]
        assert "--devices=130" in arguments
        environment = {"JOB_COMPLETION_INDEX": str(index), "ESP_SIM_SHARDS": str(shards)}
        code, _, err = call(*arguments, environment=environment)
        assert (code, err.strip()) == (0, "")
    files = sorted(map(str, tmp_path.glob("*.json")))
    assert len(files) == shards
    code, merged, _ = call("merge", "--json", *files)
    assert code == 0
    _, single, _ = call("whatif", COMPANY, "--devices", "130", "--jobs", "1", "--json")
    assert without_seconds(merged) == without_seconds(single)


# --- Ctrl+C ---------------------------------------------------------------------------------------


@pytest.mark.system
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_ctrl_c_ends_the_run_within_two_seconds_with_the_summary_so_far(
    jobs: str, tmp_path: Path
) -> None:
    out = tmp_path / "shard.json"
    running = subprocess.Popen(
        [
            *PROGRAM,
            "whatif",
            COMPANY,
            "--devices=1000000",
            f"--jobs={jobs}",
            f"--out={out}",
            "--json",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_until_it_is_busy(running, processes=1 if jobs == "1" else 3)
    # A terminal sends Ctrl+C to all processes of the run.
    began = time.monotonic()
    os.killpg(running.pid, signal.SIGINT)
    printed, said = running.communicate(timeout=30)
    took_s = time.monotonic() - began
    assert running.returncode == INTERRUPTED
    figures = json.loads(printed)
    assert 0 <= figures["devices"] < 1_000_000
    assert sum(part["devices"] for part in figures["by_type"].values()) == figures["devices"]
    assert f"interrupted after {figures['devices']} of 1000000 devices; nothing was written" in said
    assert "Traceback" not in said
    assert "KeyboardInterrupt" not in said
    assert not out.exists()
    assert took_s < BOUND_S


def wait_until_it_is_busy(running: subprocess.Popen[str], processes: int) -> None:
    """Until the kernel says that it catches signals, and that workers and their helper are there."""
    proc = Path(f"/proc/{running.pid}")
    children = proc / f"task/{running.pid}/children"
    if not children.exists():
        pytest.skip("nothing tells which signals a process catches and which children it has")
    caught = 1 << (signal.SIGTERM - 1)
    until = time.monotonic() + 30
    while time.monotonic() < until:
        status = (proc / "status").read_text().splitlines()
        line = next(line for line in status if line.startswith("SigCgt"))
        found = 1 if processes == 1 else len(children.read_text().split())
        if int(line.split()[1], 16) & caught and found >= processes:
            return
    raise AssertionError("the run never began")
