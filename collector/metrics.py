"""The collector's own figures in Prometheus form; what the enrollment page says is never taken from here."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

from collector.intake import Accepted, Decision, Duplicate, Fork, Gap, Reason, SetAside

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


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
            "Messages that wait to be taken in.",
            registry=self.registry,
        )
        self.partitions_online = Gauge(
            "esp_collector_partitions_online",
            "Partitions with an open connection to the broker.",
            registry=self.registry,
        )
        for decision in ("accepted", "duplicate", "gap", "fork", "set_aside"):
            self._intake.labels(decision)
        for reason in Reason:
            self._refused.labels(reason.value)

    def decided(self, decision: Decision) -> None:
        """Count one decision of intake."""
        match decision:
            case Accepted():
                name = "accepted"
            case Duplicate():
                name = "duplicate"
            case Gap():
                name = "gap"
            case Fork():
                name = "fork"
            case SetAside():
                name = "set_aside"
        self._intake.labels(name).inc()

    def refused(self, reason: Reason) -> None:
        """Count one refused payload."""
        self._refused.labels(reason.value).inc()

    def text(self) -> bytes:
        """Everything in the text format."""
        return generate_latest(self.registry)
