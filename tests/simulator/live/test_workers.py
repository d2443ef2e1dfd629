"""How the devices of a fleet are shared by processes, and when a report is seen in the store."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

from simulator.live.store_watch import StoreWatch
from simulator.live.worker import WorkerNews
from simulator.live.workers import Heard, shares
from simulator.population import fleet
from simulator.scenario_file import SHIPPED, load_scenario


def test_devices_that_share_nothing_are_divided_evenly() -> None:
    devices = list(fleet(load_scenario(SHIPPED / "demo.toml"), 26, 41))
    parts = shares(devices, 2)
    assert [len(part) for part in parts] == [21, 20]
    assert sorted(d.index for part in parts for d in part) == list(range(41))


def test_devices_that_share_a_line_stay_together() -> None:
    devices = list(fleet(load_scenario(SHIPPED / "office.toml"), 1, 300))
    parts = shares(devices, 3)
    homes = [{d.cohort for d in part if d.shares_a_line} for part in parts]
    assert any(homes)
    assert sum(map(len, homes)) == len(set().union(*homes))
    assert sum(map(len, parts)) == 300


def test_there_are_no_more_processes_than_devices() -> None:
    devices = list(fleet(load_scenario(SHIPPED / "demo.toml"), 26, 2))
    assert len(shares(devices, 5)) == 2


def test_news_add_up_and_a_line_that_was_cut_is_left_out() -> None:
    heard = Heard()
    assert heard.hear(WorkerNews(begun=("a", "b"), connected=2).model_dump_json())
    assert heard.hear(WorkerNews(through=("a",), crashed={"b": "x"}, connected=0).model_dump_json())
    assert not heard.hear('{"begun": ["c"')
    assert (heard.begun, heard.through, heard.crashed) == ({"a", "b"}, {"a"}, {"b": "x"})
    assert heard.last.connected == 0


def test_a_report_is_stored_when_another_reader_sees_it_and_never_before(tmp_path: Path) -> None:
    store = tmp_path / "store.sqlite"
    with closing(sqlite3.connect(store)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE streams (id INTEGER PRIMARY KEY, stream TEXT)")
        database.execute("CREATE TABLE events (id INTEGER PRIMARY KEY, stream_id INT, seq INT)")
        database.execute("INSERT INTO streams VALUES (1, 's')")
        database.commit()
        watch = StoreWatch(store)
        database.execute("INSERT INTO events VALUES (1, 1, 1)")
        committed_s = time.monotonic()
        database.commit()
        while watch.stored < 1:
            assert time.monotonic() < committed_s + 10, "the watch sees nothing"
        database.execute("INSERT INTO events VALUES (2, 1, 2)")
        watch.close()
        assert watch.orders() == {"s": {1: 1}}
    seen_s = watch.stored_at(1)
    assert seen_s is not None
    assert committed_s <= seen_s <= time.monotonic()
    assert watch.stored_at(2) is None


STANDING_STILL = """
import asyncio
from simulator.live import worker

async def stand_still():
    worker._end_on_signals(worker.Ending(), lambda: print("account", flush=True))
    print("ready", flush=True)
    while True:
        pass

asyncio.run(stand_still())
"""


def test_a_process_whose_loop_stands_still_gives_its_account_when_somebody_waits() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STANDING_STILL], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            process.send_signal(signal.SIGINT)
            said, _ = process.communicate(timeout=20)
        finally:
            process.kill()
    assert (said, process.returncode) == ("account\n", 0)
