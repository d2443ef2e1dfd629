"""Turns every refusal into problem details, so that a caller reads one shape and one sentence."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from collector.api.conditional import NotModified, PreconditionFailed, PreconditionMissing
from collector.desk import ProfileExists
from collector.device_commands import NoAttempt
from collector.files import ContentRefused, deepest, dotted
from collector.pages.explanation import DeviceUnknown
from collector.problem import MEDIA_TYPE, TYPE_PREFIX, Problem
from collector.profiles.book import ProfileIsDefault, ProfileUnknown
from collector.store.database import StoreFailed

_CODES: Final = {
    400: "unreadable",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    429: "too_often",
}

CODES: Final = (
    *_CODES.values(),
    "invalid",
    "exists",
    "is_default",
    "no_attempt",
    "changed_meanwhile",
    "precondition_required",
    "store_failed",
)
"""Every code that a refusal may have."""

_SCHEMA: Final = {"schema": Problem.model_json_schema()}


def answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The refusals that a route describes beside its own answer."""
    return {
        status: {"description": HTTPStatus(status).phrase, "content": {MEDIA_TYPE: _SCHEMA}}
        for status in statuses
    }


ALWAYS: Final = answers(400, 401, 403, 404, 413, 422, 429, 503)
"""What every route behind a token may answer."""


def problem(
    status: int,
    code: str,
    detail: str,
    key: str | None = None,
    headers: dict[str, str] | None = None,
) -> JSONResponse:
    """One refusal."""
    body = Problem(
        type=TYPE_PREFIX + code,
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        code=code,
        key=key,
    )
    return JSONResponse(body.model_dump(mode="json"), status, headers, media_type=MEDIA_TYPE)


def _invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError), "registered for this exception"
    worst = deepest(error.errors())
    message = str(worst["msg"]).removeprefix("Value error, ")
    # The first part says where in the request it stands, which the reader knows.
    return problem(422, "invalid", message, dotted(worst["loc"][1:]) or None)


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException), "registered for this exception"
    code = _CODES.get(error.status_code, "refused")
    headers = dict(error.headers) if error.headers else {}
    if error.status_code == 405:
        # The framework names the methods of the first route on this path alone.
        headers["Allow"] = ", ".join(_methods(request))
    return problem(error.status_code, code, error.detail, headers=headers)


def _methods(request: Request) -> list[str]:
    """What may be asked of this path."""
    routers = request.app.state.routers
    return sorted(
        {
            method
            for router in routers
            for route in router.routes
            if isinstance(route, APIRoute) and route.path_regex.match(request.url.path)
            for method in route.methods or ()
        }
    )


def _content(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ContentRefused), "registered for this exception"
    return problem(422, "invalid", error.sentence, error.key or None)


def _exists(_request: Request, error: Exception) -> Response:
    return problem(409, "exists", str(error), "id")


def _is_default(_request: Request, error: Exception) -> Response:
    return problem(409, "is_default", str(error))


def _no_attempt(_request: Request, error: Exception) -> Response:
    return problem(409, "no_attempt", str(error))


def _unknown(_request: Request, error: Exception) -> Response:
    return problem(404, "not_found", str(error))


def _changed(_request: Request, error: Exception) -> Response:
    return problem(412, "changed_meanwhile", str(error), "If-Match")


def _precondition(_request: Request, error: Exception) -> Response:
    return problem(428, "precondition_required", str(error), "If-Match")


def _not_modified(_request: Request, error: Exception) -> Response:
    assert isinstance(error, NotModified), "registered for this exception"
    return Response(status_code=304, headers={"ETag": error.etag})


def _store_failed(_request: Request, _error: Exception) -> Response:
    return problem(503, "store_failed", "the store can't be used now; try again later")


def install(app: FastAPI) -> None:
    """Every refusal of this application has the one shape."""
    for exception, handler in (
        (RequestValidationError, _invalid),
        (HTTPException, _http),
        (ContentRefused, _content),
        (ProfileExists, _exists),
        (ProfileUnknown, _unknown),
        (ProfileIsDefault, _is_default),
        (NoAttempt, _no_attempt),
        (DeviceUnknown, _unknown),
        (PreconditionFailed, _changed),
        (PreconditionMissing, _precondition),
        (NotModified, _not_modified),
        (StoreFailed, _store_failed),
    ):
        app.add_exception_handler(exception, handler)
