"""How many reports a second a collector takes in: from real MQTT, committed with full sync, acknowledged.

Run as `python -m benchmarks.ingest [--json] [--database sqlite|postgresql] [--rate N] [--seconds S] [--streams N]
[--limit]`. Broker (Mosquitto with the configuration of `esp-broker`), collector (`esp-collector serve`) and load
(`benchmarks.ingest_load`: many devices with windows of 32) are processes of their own on this machine; so is
PostgreSQL. When all is acknowledged, the store is compared with what was sent, stream by stream.

`--limit` sends as fast as the windows allow, which shows what the collector can do and that nothing is lost past it.

`--json` prints one object:

- `benchmark`: `"ingest"`; `database`, `client`: what took the reports in; `offered_per_second` (0: as fast as the
  windows allow), `streams`, `send_seconds`
- `created`, `acknowledged`, `stored`, `lost`, `stored_twice`, `sent_again`, `recorded_losses`: reports
- `stored_per_second`: over the whole time until the last acknowledgement
- `ack_ms`: `p50`, `p90`, `p99`, `max` from the moment at which a report was due to the device's reading of its
  acknowledgement; `ack_from_sent_ms`: from sending it, for devices whose window was full
- `waited_for_window`: reports that were due while their device's window was full
- `collector`: `cpu_us_per_report`, `cores` (CPU seconds a second), `memory_mib` (its peak); `broker`, `load`: the same
- `server`: the same of PostgreSQL with all its processes; none for SQLite, which is part of the collector
- `commits`, `reports_per_commit`: how the collector grouped them
- `ratios`: `collector_to_load`: CPU of the collector to that of the load, which is a yardstick of this machine
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import create_engine, text

from benchmarks.ingest_clients import CLIENTS
from benchmarks.ingest_load import Plan
from tests.collector.postgres import REASON, binaries, running_server

TENANT: Final = "bench"
TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Used:
    """What a process has used so far."""

    cpu_s: float
    memory_mib: float


def used(pid: int) -> Used:
    """CPU time of a process, and its peak of memory."""
    status = Path(f"/proc/{pid}/status").read_text()
    peak = re.search(r"VmHWM:\s+(\d+)", status)
    return Used(
        cpu_s=sum(_ticks(pid)[:2]) / TICKS,
        memory_mib=int(peak[1]) / 1024 if peak else 0.0,
    )


def used_by_all(pid: int) -> float:
    """CPU seconds of a process and its children, of those that are over as well."""
    living = [int(child) for child in _children(pid)]
    return (sum(_ticks(pid)) + sum(sum(_ticks(child)[:2]) for child in living)) / TICKS


def _ticks(pid: int) -> list[int]:
    """Of a process: in its own code and in the system's, then both of its children that are over."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return [int(ticks) for ticks in fields[11:15]]


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


@dataclass(frozen=True, slots=True)
class Running:
    """A program of ours that is ready."""

    process: subprocess.Popen[str]
    url: str


@contextmanager
def program(log: Path, *arguments: str) -> Iterator[Running]:
    """One of our programs until the context ends."""
    with log.open("w") as written:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments], stdout=subprocess.PIPE, stderr=written, text=True
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line.startswith("ready"):
            raise SystemExit(f"{arguments[0]} did not start: {log.read_text()}")
        yield Running(process, line.removeprefix("ready ").strip())
    finally:
        process.terminate()
        process.wait(30)
        assert process.stdout is not None
        process.stdout.close()


def measure(
    plan: Plan, database: str | None, folder: Path, server: int | None = None
) -> dict[str, Any]:
    """One run from an empty store to the comparison; `database` None takes SQLite in the folder.

    `server` is the process of the database's server, whose children belong to it.
    """
    url = database or f"sqlite:///{folder / 'collector' / 'store.sqlite'}"
    with ExitStack() as stack:
        broker = stack.enter_context(
            program(folder / "broker.log", "broker_config", "run", "--port", "0")
        )
        serve: tuple[str, ...] = (
            "collector",
            "serve",
            "--data",
            str(folder / "collector"),
            "--port",
            "0",
        )
        serve += ("--broker", broker.url, "--tenant", TENANT, "--database", url)
        collector = stack.enter_context(program(folder / "collector.log", *serve))
        broker_pid = _mosquitto(broker.process.pid)
        port = int(broker.url.rpartition(":")[2])
        before = {pid: used(pid) for pid in (collector.process.pid, broker_pid)}
        server_s = 0.0 if server is None else used_by_all(server)
        load = _send(plan, port)
        server_s = 0.0 if server is None else used_by_all(server) - server_s
        after = {pid: used(pid) for pid in before}
        commits = _commits(collector.url, folder / "collector" / "token")
        spent = {pid: after[pid].cpu_s - before[pid].cpu_s for pid in before}
        found = compare(url, load["last_seq"])
    reports = max(1, found["stored"])
    return {
        "benchmark": "ingest",
        "database": url.partition(":")[0],
        "offered_per_second": plan.per_second,
        "streams": plan.streams,
        "send_seconds": round(load["send_seconds"], 2),
        **{k: load[k] for k in ("created", "acknowledged", "sent_again", "waited_for_window")},
        **found,
        "stored_per_second": round(found["stored"] / load["seconds"]),
        "ack_ms": load["from_due_ms"],
        "ack_from_sent_ms": load["from_sent_ms"],
        "collector": _costs(spent[collector.process.pid], reports, load["seconds"])
        | {"memory_mib": round(after[collector.process.pid].memory_mib, 1)},
        "broker": _costs(spent[broker_pid], reports, load["seconds"]),
        "load": _costs(load["load_cpu_seconds"], reports, load["seconds"]),
        "server": None if server is None else _costs(server_s, reports, load["seconds"]),
        "commits": commits,
        "reports_per_commit": round(found["stored"] / max(1, commits), 1),
        "ratios": {
            "collector_to_load": round(spent[collector.process.pid] / load["load_cpu_seconds"], 3)
        },
    }


def compare_clients(plan: Plan, folder: Path) -> dict[str, Any]:
    """The same load on each client library alone, one after the other."""
    figures = {}
    for name in CLIENTS:
        with ExitStack() as stack:
            broker = stack.enter_context(
                program(folder / "broker.log", "broker_config", "run", "--port", "0")
            )
            port = broker.url.rpartition(":")[2]
            client = stack.enter_context(
                program(folder / f"{name}.log", "benchmarks.ingest_clients", name, port, TENANT)
            )
            before = used(client.process.pid)
            load = _send(plan, int(port))
            after = used(client.process.pid)
        cpu_s = after.cpu_s - before.cpu_s
        figures[name] = {
            "acknowledged": load["acknowledged"],
            "sent_again": load["sent_again"],
            "ack_ms": load["from_due_ms"],
            **_costs(cpu_s, max(1, load["acknowledged"]), load["seconds"]),
            "to_load": round(cpu_s / load["load_cpu_seconds"], 3),
        }
    return {"benchmark": "ingest_clients", "offered_per_second": plan.per_second, **figures}


def _send(plan: Plan, port: int) -> dict[str, Any]:
    asked = json.dumps({**asdict(plan), "port": port})
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.ingest_load", asked],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _costs(cpu_s: float, reports: int, seconds: float) -> dict[str, float]:
    return {
        "cpu_us_per_report": round(cpu_s / reports * 1e6, 1),
        "cores": round(cpu_s / seconds, 3),
    }


def _mosquitto(pid: int) -> int:
    """The broker itself, which `esp-broker run` started."""
    children = _children(pid)
    return int(children[0]) if children else pid


def _commits(url: str, token_file: Path) -> int:
    request = urllib.request.Request(  # noqa: S310
        f"{url}/metrics", headers={"Authorization": f"Bearer {token_file.read_text().strip()}"}
    )
    with urllib.request.urlopen(request) as answer:  # noqa: S310
        text_ = answer.read().decode()
    count = re.search(r"^esp_collector_commit_seconds_count ([0-9.e+]+)$", text_, re.MULTILINE)
    return int(float(count[1])) if count else 0


def compare(url: str, sent: dict[str, int]) -> dict[str, int]:
    """What is stored of what was sent: a digest covers a report and all that its stream told before."""
    engine = create_engine(url)
    with engine.connect() as connection:
        rows = connection.execute(
            text(
                "SELECT s.stream, COUNT(*), COUNT(DISTINCT e.digest) FROM events e"
                " JOIN streams s ON s.id = e.stream_id GROUP BY s.stream"
            )
        ).all()
        losses = connection.execute(text("SELECT COUNT(*) FROM losses")).scalar_one()
    engine.dispose()
    distinct = {stream: different for stream, _, different in rows}
    return {
        "stored": sum(count for _, count, _ in rows),
        "lost": sum(last - distinct.get(stream, 0) for stream, last in sent.items()),
        "stored_twice": sum(count - different for _, count, different in rows),
        "recorded_losses": losses,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """The program."""
    options = _options(arguments)
    plan = Plan(
        port=0,
        tenant=TENANT,
        streams=options.streams,
        per_second=0 if options.limit else options.rate,
        seconds=options.seconds,
    )
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="esp-ingest-")))
        database = server = None
        if options.database == "postgresql":
            found = binaries()
            if found is None:
                raise SystemExit(REASON)
            running = stack.enter_context(running_server(found, "shared_buffers=256MB"))
            database, server = running.fresh(), running.process.pid
        if options.clients:
            figures = compare_clients(plan, folder)
        else:
            figures = measure(plan, database, folder, server)
    print(json.dumps(figures, indent=None if options.json else 1))
    if figures.get("lost") or figures.get("stored_twice"):
        raise SystemExit(1)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmarks.ingest", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on one line")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument(
        "--rate", type=float, default=5_000, help="reports a second; 5000 unless told"
    )
    parser.add_argument(
        "--seconds", type=float, default=60, help="how long to send; 60 unless told"
    )
    parser.add_argument("--streams", type=int, default=2_000, help="devices; 2000 unless told")
    parser.add_argument("--limit", action="store_true", help="as fast as the windows allow")
    parser.add_argument(
        "--clients", action="store_true", help="the MQTT clients alone, with nothing stored"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
