"""Whether the collector does its work, for load balancers and for Prometheus."""

from __future__ import annotations

from fastapi import APIRouter, Response
from pydantic import BaseModel

from collector.access import Role
from collector.api.problems import ALWAYS
from collector.api.services import Given, needs

router = APIRouter(tags=["Service"])


class Health(BaseModel):
    """Whether the collector does its work."""

    status: str
    partitions_online: int
    storing: bool


@router.get("/health", responses={503: {"model": Health}})
def health(given: Given, response: Response) -> Health:
    """200 while reports are taken in, 503 otherwise; open to everybody."""
    online, storing = given.courier.online_partitions, given.courier.is_storing
    if not (online and storing):
        response.status_code = 503
    return Health(
        status="ok" if response.status_code != 503 else "degraded",
        partitions_online=online,
        storing=storing,
    )


@router.get(
    "/metrics",
    dependencies=[needs(Role.READ)],
    responses={**ALWAYS, 200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    response_class=Response,
)
def metrics(given: Given) -> Response:
    """The collector's own figures, for Prometheus."""
    return Response(given.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")
