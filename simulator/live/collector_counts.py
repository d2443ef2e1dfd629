"""What the collector counts of its own work, for the failures that only it sees."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Final

import httpx

METRICS_PATH: Final = "/metrics"
TIMEOUT_S: Final = 5.0
_LINE: Final = re.compile(
    r'^esp_collector_(?P<name>reports|refused_payloads)_total\{[a-z]+="(?P<label>[a-z_]+)"\} (?P<value>[0-9.e+]+)$'
)
_STORE_FAILURES: Final = re.compile(r"^esp_collector_store_failures_total (?P<value>[0-9.e+]+)$")
_DECISIONS: Final = {
    "duplicate": "arrived_again",
    "gap": "arrived_after_a_gap",
    "set_aside": "set_aside",
}
"""What intake decided, apart from taking a report over, by the kind of failure that it counts as."""
STORE_FAILURES: Final = "store_failures"


async def collector_counts(collector: str, token: str) -> Mapping[str, int]:
    """The collector's counters by name and label; empty where it does not answer: its audit says why."""
    headers = {"Authorization": f"Bearer {token}"}
    try:
        async with httpx.AsyncClient(base_url=collector, timeout=TIMEOUT_S) as client:
            answer = await client.get(METRICS_PATH, headers=headers)
            answer.raise_for_status()
    except httpx.HTTPError:
        return {}
    return parsed(answer.text)


def parsed(text: str) -> Mapping[str, int]:
    """The counters that matter here, from the text format of Prometheus."""
    found = {}
    for line in text.splitlines():
        if match := _LINE.match(line):
            found[f"{match['name']}:{match['label']}"] = round(float(match["value"]))
        elif match := _STORE_FAILURES.match(line):
            found[STORE_FAILURES] = round(float(match["value"]))
    return found


def failures_between(
    before: Mapping[str, int], after: Mapping[str, int]
) -> dict[str, Counter[str]]:
    """What the collector counted in between, by kind and reason; other fleets that it serves are in it."""
    found: dict[str, Counter[str]] = {}
    for key, value in after.items():
        count = value - before.get(key, 0)
        name, _, label = key.partition(":")
        if count <= 0:
            continue
        if name == "refused_payloads":
            found.setdefault("refused_by_collector", Counter())[label] += count
        elif label in _DECISIONS:
            found.setdefault("seen_by_collector", Counter())[_DECISIONS[label]] += count
        elif key == STORE_FAILURES:
            found.setdefault("seen_by_collector", Counter())[
                "commits that the database refused"
            ] += count
    return found
