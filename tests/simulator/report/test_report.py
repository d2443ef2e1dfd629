"""The report folder: the same bytes for the same figures, and a page that needs nothing but itself."""

from __future__ import annotations

import csv
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import chain
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest

from agent.wire.vocabulary import EnrollmentType
from simulator.report.charts import Chart
from simulator.report.folder import charts_of, write_report
from simulator.scenario_file import SHIPPED, load_scenario
from simulator.whatif.counted import Compare, Question, Sweep
from simulator.whatif.overrides import overridden
from simulator.whatif.search import TIMEOUTS, Find
from tests.simulator.whatif.fleets import figures_of

DEMO = load_scenario(SHIPPED / "demo.toml")
DEVICES = 60


def answered(question: Question | Find | None = None) -> dict[str, Any]:
    return figures_of(DEMO, question, devices=DEVICES, seed=5)


@pytest.fixture(scope="module")
def everything() -> dict[str, dict[str, Any]]:
    """The figures of each kind of question."""
    faster = overridden(DEMO, [("timeout", 1440)], "test")
    return {
        "plain": answered(),
        "compare": answered(Compare(faster, "raising <timeout> & more")),
        "sweep": answered(Sweep("timeout", (5, 60))),
        "find": answered(Find("timeout", 0.1, TIMEOUTS)),
    }


@pytest.fixture(scope="module")
def reports(
    everything: dict[str, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """The folder of each."""
    folders = {kind: tmp_path_factory.mktemp(kind) / "report" for kind in everything}
    for kind, folder in folders.items():
        write_report(folder, everything[kind])
    return folders


@pytest.fixture(scope="module")
def charts(everything: dict[str, dict[str, Any]]) -> dict[str, list[Chart]]:
    """The charts of each."""
    return {kind: list(charts_of(figures)) for kind, figures in everything.items()}


def written(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


class Page(HTMLParser):
    """What a test asks of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def all(self, tag: str) -> Iterator[dict[str, str | None]]:
        return (attributes for name, attributes in self.tags if name == tag)


KINDS = ("plain", "compare", "sweep", "find")


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_figures_give_the_same_bytes(
    everything: dict[str, dict[str, Any]], reports: dict[str, Path], kind: str, tmp_path: Path
) -> None:
    """However long the run took, and whatever style the library was told to use."""
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "red"}):
        write_report(tmp_path, everything[kind] | {"seconds": 12345.678})
    assert written(tmp_path) == written(reports[kind])
    assert b"12345.678" not in written(tmp_path)["figures.json"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_is_whole_and_needs_no_other(reports: dict[str, Path], kind: str) -> None:
    text = (reports[kind] / "index.html").read_text(encoding="utf-8")
    page = Page(text)
    page.close()
    assert page.open == []
    for tag in ("script", "link", "img", "iframe"):
        assert not list(page.all(tag))
    assert "http" not in text
    assert "<timeout>" not in text
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    used = {attributes["href"] for _, attributes in page.tags if "href" in attributes}
    assert {str(name)[1:] for name in used} <= set(ids)
    # A style inside a drawing would hold for the whole page.
    assert [tag for tag, _ in page.tags].count("style") == 1


@pytest.mark.parametrize("kind", KINDS)
def test_every_chart_is_said_in_words(
    charts: dict[str, list[Chart]], reports: dict[str, Path], kind: str
) -> None:
    text = (reports[kind] / "index.html").read_text(encoding="utf-8")
    assert charts[kind]
    for chart in charts[kind]:
        drawing = ET.fromstring(chart.svg)  # noqa: S314 - Our own drawing.
        assert drawing.get("role") == "img"
        named = (drawing.get("aria-labelledby") or "").split()
        words = [e.text or "" for e in drawing.iter() if e.get("id") in named]
        assert words == [chart.title, chart.alt]
        assert len(chart.alt) > 20
        assert chart.svg in text


def test_charts_have_no_colour_but_the_pages(charts: dict[str, list[Chart]]) -> None:
    """So that they turn dark with it."""
    for chart in chain(*charts.values()):
        assert re.findall(r"(?:fill|stroke|color): #\w+", chart.svg) == []
        assert "var(--ink)" in chart.svg


def test_colour_is_never_the_only_sign(charts: dict[str, list[Chart]]) -> None:
    """Dashes beside bars, and words beside hollow marks."""
    compared = {chart.name: chart.svg for chart in charts["compare"]}
    assert "stroke-dasharray" in compared["times"]
    assert "none found" in compared["difference-succeeded"]
    assert "stroke-dasharray" in {c.name: c.svg for c in charts["sweep"]}["minutes"]


def rows_of(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_tables_have_the_figures(
    everything: dict[str, dict[str, Any]], reports: dict[str, Path]
) -> None:
    figures = everything["compare"]
    folder = reports["compare"]
    assert json.loads((folder / "figures.json").read_text()) == {
        key: value for key, value in figures.items() if key != "seconds"
    }
    types = {row["Type"]: row for row in rows_of(folder, "types") if row["Variant"] == "all"}
    for kind, part in figures["by_type"].items():
        row = types[EnrollmentType(kind).label]
        assert int(row["Devices"]) == part["devices"]
        assert float(row["Success rate"]) == part["success_rate"]
        assert int(row["abandoned"]) == part["end_states"].get("abandoned", 0)
    items = rows_of(folder, "items")
    assert len(items) == sum(len(path) for path in figures["critical_path_by_type"].values())
    causes = rows_of(folder, "causes")
    assert [int(row["Failed tries"]) for row in causes] == [
        entry["failed_tries"] for entry in figures["failures"]
    ]
    bars = rows_of(folder, "histogram")
    successes = sum(
        part["histogram"]["longer"] + sum(part["histogram"]["counts"])
        for part in figures["by_type"].values()
    )
    assert sum(int(row["Successful attempts"]) for row in bars) == successes
    compare = rows_of(folder, "compare")
    assert compare[-1]["Type"] == "All"
    gained = figures["compare"]["succeeded"]["second_only"]
    assert int(compare[-1]["Failure to success"]) == gained


def test_a_sweep_has_one_row_for_each_value(reports: dict[str, Path]) -> None:
    folder = reports["sweep"]
    assert [row["timeout"] for row in rows_of(folder, "values")] == ["5", "60"]
    assert set(written(folder)) == {"index.html", "figures.json", "values.csv"}


def test_a_fleet_in_which_nobody_succeeds_has_a_page(tmp_path: Path) -> None:
    nobody = overridden(
        DEMO, [("admission.minimum_os", dict.fromkeys(EnrollmentType, "999"))], "test"
    )
    write_report(tmp_path, figures_of(nobody, devices=10, seed=5))
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "0.0%" in text
    assert "OS version not supported" in text
