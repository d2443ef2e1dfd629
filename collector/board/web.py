"""The board in a browser: one board for each page that is opened, behind a key, because it can send commands."""

from __future__ import annotations

import hmac
import os
import secrets
import shlex
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from aiohttp import web
from textual_serve.server import Server

from collector.client import TOKEN_VARIABLE, URL_VARIABLE
from collector.listening import listen

COOKIE: Final = "esp-board"
KEY_BYTES: Final = 24
_PAGE: Final = Path(__file__).parent / "web_page"
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class WebBoard(Server):
    """Textual's own server, with a door in front of it and nothing fetched from elsewhere."""

    def __init__(self, url: str, token_file: Path, host: str, port: int) -> None:
        """The board asks `url` with that token. Raises `CannotListen` when the address is taken."""
        self._listener = listen(host, port)
        host, port = self._listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        self._key = secrets.token_urlsafe(KEY_BYTES)
        self._environment = {URL_VARIABLE: url, TOKEN_VARIABLE: str(token_file.resolve())}
        super().__init__(
            shlex.join([sys.executable, "-m", "collector", "board"]),
            host=host,
            port=port,
            title="Enrollment Status",
            public_url=f"http://{shown}:{port}",
            templates_path=_PAGE,
        )

    @property
    def address(self) -> str:
        """What to open in a browser."""
        return f"{self.public_url}/?key={self._key}"

    def run(self) -> None:
        """Until SIGINT or SIGTERM."""
        # Every board is a process of its own, which takes its collector and token from here.
        os.environ.update(self._environment)
        web.run_app(
            self._make_app(), sock=self._listener, print=None, access_log=None, shutdown_timeout=2
        )

    async def _make_app(self) -> web.Application:
        app = await super()._make_app()
        app.middlewares.append(self._door)
        return app

    async def on_startup(self, app: web.Application) -> None:
        """Say where it is."""
        del app
        print(f"ready {self.address}", flush=True)  # noqa: T201

    @web.middleware
    async def _door(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Only who came in with the key; and no other site's page, which would bring the browser's cookie along."""
        if request.path == "/" and self._is_key(request.query.get("key", "")):
            entered = web.HTTPSeeOther("/")
            entered.set_cookie(COOKIE, self._key, httponly=True, samesite="Strict")
            return _with_headers(entered)
        if not self._is_key(request.cookies.get(COOKIE, "")):
            return _with_headers(
                web.Response(
                    status=403, text="Open the URL that `esp-collector board --web` printed.\n"
                )
            )
        origin = request.headers.get("Origin")
        if origin is not None and origin != self.public_url:
            return _with_headers(web.Response(status=403, text="Another site's page asked.\n"))
        response = await handler(request)
        return response if response.prepared else _with_headers(response)

    def _is_key(self, told: str) -> bool:
        return hmac.compare_digest(told.encode("utf-8", "surrogatepass"), self._key.encode())


def _with_headers(response: web.StreamResponse) -> web.StreamResponse:
    response.headers.update(_HEADERS)
    return response
