"""The stored reports themselves, line by line, for audits and for whoever wants to compute figures anew."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from collector.access import Role
from collector.api.problems import ALWAYS
from collector.api.services import Given, needs
from collector.pages import history
from collector.store.store import Store

LINES: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "One JSON object a line.",
        "content": {"application/x-ndjson": {"schema": {"type": "string"}}},
    }
}

router = APIRouter(prefix="/api", dependencies=[needs(Role.READ)], responses=ALWAYS)


@router.get("/reports/stored", tags=["Audit"], response_class=StreamingResponse, responses=LINES)
def stored(given: Given) -> StreamingResponse:
    """Every stored report and every recorded loss, one JSON object a line, to compare with the devices' journals."""
    return StreamingResponse(stored_lines(given.store), media_type="application/x-ndjson")


def stored_lines(store: Store) -> Iterator[str]:
    """Every stored report and every recorded loss, as lines of JSON."""
    for row in store.stored_rows():
        yield _line(
            record="report",
            device=row.device,
            stream=row.stream,
            seq=row.seq,
            digest=row.digest,
            times=row.times,
        )
    for loss in store.losses():
        yield _line(record="loss", **history.loss_line(loss).model_dump(mode="json"))


@router.get("/reports", tags=["History"], response_class=StreamingResponse, responses=LINES)
def reports(given: Given) -> StreamingResponse:
    """Every stored report, one JSON object a line: device, stream, seq and the report itself."""
    return StreamingResponse(report_lines(given.store), media_type="application/x-ndjson")


def report_lines(store: Store) -> Iterator[str]:
    """Every stored report as lines of JSON, by device and in its order."""
    for device, stream, seq, report in store.reports():
        head = json.dumps({"device": device, "stream": stream, "seq": seq}, separators=(",", ":"))
        # The report is JSON already, and there may be millions of them.
        yield f'{head[:-1]},"report":{report}}}\n'


def _line(**fields: object) -> str:
    return json.dumps(fields, separators=(",", ":")) + "\n"
