"""The printed flows and transitions are those of the engine, line by line."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.core.enrollment import transitions
from agent.core.flows import FLOWS, described, flow_of
from agent.wire.vocabulary import EnrollmentType, Variant

DOCS = Path(__file__).parents[3] / "docs"


def table_under(heading: str) -> list[str]:
    """The rows of the first table below a heading of docs/flows.md."""
    page = (DOCS / "flows.md").read_text(encoding="utf-8")
    section = page.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return [line for line in section.splitlines() if line.startswith("|")][2:]


@pytest.mark.parametrize(("kind", "variant"), FLOWS)
def test_a_flow_reads_in_the_documents_as_it_runs(kind: EnrollmentType, variant: Variant) -> None:
    rows = [f"| {' | '.join(cells)} |" for cells in described(flow_of(kind, variant))]
    assert rows == table_under(f"{kind.label}, {variant.label}")


def test_the_transitions_read_in_the_documents_as_they_are() -> None:
    page = (DOCS / "transitions.md").read_text(encoding="utf-8")
    rows = [f"| {mode} | {event} | {then} |" for mode, event, then in transitions()]
    assert page.endswith("\n".join([*rows, ""]))


def test_a_way_that_a_platform_does_not_have_is_refused_with_those_it_has() -> None:
    with pytest.raises(ValueError, match=r"has no variant 'hybrid_join'; choose one of: standard"):
        flow_of(EnrollmentType.WINDOWS_MANUAL, Variant.HYBRID_JOIN)
