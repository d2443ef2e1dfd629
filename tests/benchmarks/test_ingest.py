"""The load of `benchmarks.ingest` is what agents send, and its comparison finds what is missing and what is there twice."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import delete, insert, select

from agent.wire.codec import decode, digest
from agent.wire.events import Event
from benchmarks.ingest import compare, measure, used, used_by_all
from benchmarks.ingest_load import Plan, Stream, written
from broker_config.running import find_mosquitto
from collector.store import schema
from tests.collector.fleet import TENANT, Office, arrival


def events(count: int, begins_at: int = 0) -> list[Event]:
    stream = Stream("LOAD-1", TENANT, cast("Any", None), begins_at)
    templates = written()
    return [decode(Event, stream.next_payload(templates)) for _ in range(count)]


def test_every_report_is_valid_and_names_the_digest_of_the_one_before() -> None:
    before = None
    for seq, event in enumerate(events(150, begins_at=60), start=1):
        assert (event.seq, event.after) == (seq, before)
        before = digest(event.stream, event.seq, event.report, event.after)
    kinds = [event.report.body.kind for event in events(68)]
    assert (kinds[0], kinds[-1]) == ("attempt_started", "attempt_ended")


def test_what_is_missing_and_what_is_there_twice_is_found(tmp_path: Path) -> None:
    office = Office.open(tmp_path)
    sent = events(5)
    office.store.commit([arrival(event, 1) for event in sent], 0)
    url = f"sqlite:///{tmp_path / 'store.sqlite'}"
    last = {sent[0].stream: 5}
    assert compare(url, last) == {"stored": 5, "lost": 0, "stored_twice": 0, "recorded_losses": 0}
    table = schema.EVENTS
    with office.store.database.writing() as connection:
        connection.execute(delete(table).where(table.c.seq == 2))
        columns = [column for column in table.c if column.name not in ("id", "seq")]
        again = select((table.c.seq + 100).label("seq"), *columns).where(table.c.seq == 5)
        connection.execute(insert(table).from_select(["seq", *(c.name for c in columns)], again))
    office.close()
    found = compare(url, {**last, "a stream that never came": 3})
    assert (found["lost"], found["stored_twice"]) == (4, 1)


def test_what_a_server_used_has_the_children_in_it_that_are_over_and_those_that_are_not() -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\ninput()"
    alone_s, together_s = used(os.getpid()).cpu_s, used_by_all(os.getpid())
    with subprocess.Popen(
        [sys.executable, "-c", burn], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        living_s = used_by_all(os.getpid()) - together_s
        child.communicate(b"\n")
    over_s = used_by_all(os.getpid()) - together_s
    mine_s = used(os.getpid()).cpu_s - alone_s
    assert living_s >= 0.2
    assert over_s >= 0.2
    assert mine_s < over_s


@pytest.mark.system
@pytest.mark.mosquitto
@pytest.mark.skipif(find_mosquitto() is None, reason="Mosquitto is not installed")
def test_a_small_run_from_the_broker_to_the_store(tmp_path: Path) -> None:
    plan = Plan(port=0, tenant="bench", streams=10, per_second=100, seconds=1)
    found = measure(plan, None, tmp_path)
    assert (found["created"], found["acknowledged"], found["stored"]) == (100, 100, 100)
    assert (found["lost"], found["stored_twice"], found["recorded_losses"]) == (0, 0, 0)
    assert found["commits"] > 0
    assert found["collector"]["cpu_us_per_report"] > 0
    assert 0 < found["ack_ms"]["p50"] <= found["ack_ms"]["p99"] <= found["ack_ms"]["max"]
