"""Where a list goes on, as a Link header (RFC 8288), so that generic clients can follow it."""

from __future__ import annotations

from fastapi import Request, Response


def link_next(request: Request, response: Response, cursor: str | None) -> None:
    """Name the next page in the header; nothing on the last one."""
    if cursor is not None:
        after = request.url.include_query_params(cursor=cursor)
        # A path without the host: behind a proxy the collector does not know its own name.
        response.headers["Link"] = f'<{after.path}?{after.query}>; rel="next"'
