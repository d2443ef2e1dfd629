"""`benchmarks.reports` fills a store that answers, and says how long each answer takes."""

from __future__ import annotations

from pathlib import Path

from benchmarks.reports import NOW_MS, Size, fill, measure, questions
from collector.store.store import Store


def test_every_question_has_an_answer_of_its_size(tmp_path: Path) -> None:
    size = Size(400 * 50)
    store = Store(f"sqlite:///{tmp_path / 'store.sqlite'}", now_ms=NOW_MS)
    fill(store, size)
    assert len(store.attempts()) == size.attempts == 400
    assert sum(row.times for row in store.stored_rows()) == 20_000
    empty = {"device_losses", "waiting_commands"}
    for name, ask in questions(size).items():
        answer = ask(store)
        assert name in empty or answer, name
    store.close()


def test_the_figures_have_a_time_for_each_question(tmp_path: Path) -> None:
    size = Size(500)
    found = measure(f"sqlite:///{tmp_path / 'store.sqlite'}", size, explain=True)
    assert found["ms"].keys() == found["plans"].keys() == questions(size).keys()
    assert all(took > 0 for took in found["ms"].values())
    assert all("SCAN" in " ".join(p) or "SEARCH" in " ".join(p) for p in found["plans"].values())
