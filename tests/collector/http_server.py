"""The API on a real socket, for what a test client in the same process can't show: TLS, and other programs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import uvicorn

from collector.api import Services, make_app
from collector.listening import TlsFiles, listen, url_of
from collector.operations import Operations


class _Server(uvicorn.Server):
    """Leaves the signals to the test."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextmanager
def serving(
    given: Services, tls: TlsFiles | None = None, operations: Operations | None = None
) -> Iterator[str]:
    """The URL, for as long as the context lasts."""
    app = make_app(given)
    app.state.operations = operations
    options: dict[str, Any] = {} if tls is None else tls.server_options
    config = uvicorn.Config(app, log_config=None, lifespan="off", **options)
    server, listener = _Server(config), listen("127.0.0.1", 0)
    # The socket listens already, so whoever connects before the server runs waits for it.
    thread = threading.Thread(target=server.run, args=([listener],), name="api")
    thread.start()
    try:
        yield url_of(listener, tls)
    finally:
        server.should_exit = True
        thread.join()
        with suppress(OSError):
            listener.close()
