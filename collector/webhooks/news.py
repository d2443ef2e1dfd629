"""What a webhook is told of: which stored report is news, and how it reads in a message."""

from __future__ import annotations

import json
from collections.abc import Iterator
from enum import StrEnum
from typing import Any, Final

from agent.wire.events import AttemptEnded, AttemptStarted, ErrorScreenShown, MessageRefused
from collector.answer import moment
from collector.attempts import FAILURE_STATES
from collector.refusals import meaning
from collector.store.following import Followed
from collector.stuck.watch import StuckRow

REPORT_KINDS: Final = ("attempt_started", "error_screen_shown", "message_refused", "attempt_ended")
"""The reports that are news to anybody."""


class Kind(StrEnum):
    """What a webhook may be told of."""

    STARTED = "enrollment.started"
    FAILED = "enrollment.failed"
    STUCK = "enrollment.stuck"
    FINISHED = "enrollment.finished"
    SUSPICIOUS = "enrollment.suspicious"


TEST: Final = "webhook.test"


News = tuple[str, int, dict[str, Any]]
"""Kind, when it was stored (ms since 1970), and the fact."""


def body_of(kind: str, at_ms: int, data: dict[str, Any]) -> str:
    """What is sent, as Standard Webhooks 1.0.0 has it: type, time of the fact, and the fact."""
    told = {"type": kind, "timestamp": moment(at_ms).isoformat(), "data": data}
    return json.dumps(told, separators=(",", ":"))


def news_of(one: Followed) -> Iterator[News]:
    """What a stored report is to whoever is told."""
    match one.report.body:
        case AttemptStarted() as body:
            told = {"enrollment_type": body.enrollment_type.value, "number": body.number}
            yield Kind.STARTED, one.received_ms, {**_about(one), **told}
        case ErrorScreenShown() as body:
            told_of = body.failure.model_dump(mode="json")
            failed = {
                "failure": told_of,
                "end_state": None,
                "failed_items": list(body.failed_items),
            }
            yield Kind.FAILED, one.received_ms, {**_about(one), **failed}
        case MessageRefused() as body:
            refused = {
                "message": body.message.value,
                "reason": body.reason.value,
                "meaning": meaning(body),
            }
            yield Kind.SUSPICIOUS, one.received_ms, {**_about(one), **refused}
        case AttemptEnded() as body:
            ended = {
                "end_state": body.end_state.value,
                "failure": body.failure and body.failure.model_dump(mode="json"),
                "section": body.section,
                "action_name": body.action_name,
                "user_action": body.user_action,
            }
            if body.end_state in FAILURE_STATES:
                yield Kind.FAILED, one.received_ms, {**_about(one), **ended}
            yield Kind.FINISHED, one.received_ms, {**_about(one), **ended}
        case _:
            pass


def _about(one: Followed) -> dict[str, Any]:
    return {
        "device": one.device,
        "user": one.user,
        "platform": one.platform,
        "attempt": one.attempt,
        "attempt_ms": one.report.attempt_ms,
        "order": one.order,
    }


def stuck_news(row: StuckRow) -> News:
    """What a stuck item is to whoever is told."""
    told = {
        "device": row.device,
        "user": row.user,
        "platform": row.platform,
        "attempt": row.attempt,
        "item": row.item,
        "name": row.name,
        "try": row.try_number,
        "running_ms": row.running_ms,
        "limit_ms": row.limit_ms,
        "basis": row.basis,
        "observations": row.observations,
    }
    return Kind.STUCK, row.since_ms, told
