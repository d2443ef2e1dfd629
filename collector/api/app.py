"""The application: one router for each subject, one shape for every refusal."""

from __future__ import annotations

from importlib.metadata import version
from typing import Final

from fastapi import APIRouter, FastAPI

from collector.access import Tokens
from collector.api import (
    devices,
    graph,
    incomplete,
    operations,
    problems,
    profiles,
    registrations,
    service_routes,
    status,
    stored_reports,
)
from collector.api.protection import Protection
from collector.api.services import Doors, Services
from collector.api.throttle import Throttle

ROUTERS: Final[tuple[APIRouter, ...]] = (
    status.router,
    profiles.router,
    incomplete.router,
    graph.router,
    registrations.router,
    stored_reports.router,
    operations.router,
    operations.administration,
    devices.router,
    service_routes.router,
)
"""In this order: a path that is fixed comes before one with a name in the same place."""

_DESCRIPTION: Final = """\
Enrollment status of a fleet, its ESP profiles, the incomplete-enrollments report, and commands to its devices.

Every refusal is problem details (RFC 9457) with one sentence in `detail` and the field at fault in `key`. Lists have
pages: ask again with `next_cursor`. Answers carry an ETag: send it as `If-None-Match` to read an answer only when it has
changed, and as `If-Match` to change a profile only while it is what you read.
"""


def make_app(given: Services | None) -> FastAPI:
    """The application; without services it can only describe itself."""
    app = FastAPI(
        title="Enrollment collector",
        version=version("enrollment-agent"),
        description=_DESCRIPTION,
        # These pages load scripts from other people's servers into a page that a token is typed into.
        docs_url=None,
        redoc_url=None,
    )
    app.state.services = given
    app.state.routers = ROUTERS
    if given is not None:
        app.state.doors = Doors(Tokens(given.store.database), Throttle(given.limits))
    for router in ROUTERS:
        app.include_router(router)
    problems.install(app)
    app.add_middleware(Protection)
    return app
