"""The collector's own figures in Prometheus form; what the enrollment page says is never taken from here."""

from __future__ import annotations

from collections import Counter as Counted
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import product
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from agent.wire.events import MessageRefused
from agent.wire.vocabulary import MessageKind, RefusalReason
from collector.intake import Accepted, Decision, Duplicate, Fork, Gap, Reason, SetAside

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


_LOOKED_UP: Final[Mapping[str, str]] = {
    "open_attempts": "Attempts that have not ended.",
    "stuck_items": "Items at work for longer than 99 in 100 of their kind needed.",
    "webhook_queue": "Messages that wait to be delivered to webhooks.",
    "webhook_queue_age_seconds": "How long the oldest of them has waited.",
    "webhook_given_up": "Messages that were given up and are still kept to be looked at.",
    "live_readers": "Readers of live updates.",
}


class _LookedUp(Collector):
    """Figures that the store is asked for when Prometheus asks."""

    def __init__(self, look_up: Callable[[], Mapping[str, float]]) -> None:
        self._look_up = look_up

    def describe(self) -> list[Metric]:
        """Nothing is looked up to be described."""
        return []

    def collect(self) -> Iterator[Metric]:
        """One gauge each; what can't be looked up now is left out."""
        found = self._look_up()
        for name, told in _LOOKED_UP.items():
            if name in found:
                yield GaugeMetricFamily(f"esp_collector_{name}", told, value=found[name])


class Metrics:
    """One registry for one collector."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._intake = Counter(
            "esp_collector_reports_total",
            "Reports that arrived, by what intake decided.",
            ["decision"],
            registry=self.registry,
        )
        self._refused = Counter(
            "esp_collector_refused_payloads_total",
            "Payloads that were refused, by reason.",
            ["reason"],
            registry=self.registry,
        )
        self._refused_by_devices = Counter(
            "esp_collector_refused_by_devices_total",
            "Messages that devices reported to have refused, each once for message, reason and attempt.",
            ["message", "reason"],
            registry=self.registry,
        )
        self.commit_seconds = Histogram(
            "esp_collector_commit_seconds",
            "How long one commit took.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.store_failures = Counter(
            "esp_collector_store_failures_total",
            "Commits that the database refused.",
            registry=self.registry,
        )
        self.queue_depth = Gauge(
            "esp_collector_queue_depth",
            "Messages that wait to be stored, the batch in hand included.",
            registry=self.registry,
        )
        self.oldest_waiting_seconds = Gauge(
            "esp_collector_oldest_waiting_seconds",
            "How long the oldest report in hand has waited to be stored; 0 when none waits.",
            registry=self.registry,
        )
        self.lag_seconds = Histogram(
            "esp_collector_lag_seconds",
            "From the arrival of the oldest report of a batch until the batch was stored.",
            buckets=(*_SECONDS, 10.0, 30.0, 60.0),
            registry=self.registry,
        )
        self.lease_age_seconds = Gauge(
            "esp_collector_lease_age_seconds",
            "How long ago the leases on partitions were renewed.",
            registry=self.registry,
        )
        self.partitions_online = Gauge(
            "esp_collector_partitions_online",
            "Partitions with an open connection to the broker.",
            registry=self.registry,
        )
        self.partitions_owned = Gauge(
            "esp_collector_partitions_owned",
            "Partitions that this collector holds a lease on.",
            registry=self.registry,
        )
        self.acknowledgements = Counter(
            "esp_collector_acknowledgements_total",
            "Acknowledgements that were handed to the broker's connection.",
            registry=self.registry,
        )
        self._webhook_tries = Counter(
            "esp_collector_webhook_tries_total",
            "Tries to deliver to a webhook, by outcome.",
            ["outcome"],
            registry=self.registry,
        )
        self.removed_reports = Counter(
            "esp_collector_removed_reports_total",
            "Reports that retention let go.",
            registry=self.registry,
        )
        for outcome in ("delivered", "failed", "given_up"):
            self._webhook_tries.labels(outcome)
        for decision in ("accepted", "duplicate", "gap", "fork", "set_aside"):
            self._intake.labels(decision)
        for reason in Reason:
            self._refused.labels(reason.value)
        for message, why in product(MessageKind, RefusalReason):
            self._refused_by_devices.labels(message.value, why.value)

    def decided(self, decisions: Iterable[Decision]) -> None:
        """Count decisions of intake."""
        for name, count in Counted(map(_name, decisions)).items():
            self._intake.labels(name).inc(count)

    def refused(self, reason: Reason) -> None:
        """Count one refused payload."""
        self._refused.labels(reason.value).inc()

    def refused_by_device(self, refused: MessageRefused) -> None:
        """Count one message that a device refused."""
        self._refused_by_devices.labels(refused.message.value, refused.reason.value).inc()

    def webhook_tried(self, outcome: str) -> None:
        """Count one try to deliver to a webhook."""
        self._webhook_tries.labels(outcome).inc()

    def observe(self, look_up: Callable[[], Mapping[str, float]]) -> None:
        """Answer with these figures too, looked up each time."""
        self.registry.register(_LookedUp(look_up))

    def text(self) -> bytes:
        """Everything in the text format."""
        return generate_latest(self.registry)


def _name(decision: Decision) -> str:
    match decision:
        case Accepted():
            return "accepted"
        case Duplicate():
            return "duplicate"
        case Gap():
            return "gap"
        case Fork():
            return "fork"
        case SetAside():
            return "set_aside"
