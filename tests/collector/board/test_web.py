"""The board in a browser: shown by a real one, asking nobody else, and closed to whoever has no key."""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from collector.operations import Operations
from tests.collector.asking import TOKEN, services
from tests.collector.fleet import Office, Reporter
from tests.collector.http_server import serving

aiohttp = pytest.importorskip("aiohttp", reason="the extra `web` is not installed")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PNG_OF_SOMETHING_BYTES = 8_000
BINARY = 2

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(
        find_spec("textual_serve") is None, reason="the extra `web` is not installed"
    ),
]


@asynccontextmanager
async def web_board(office: Office, directory: Path) -> AsyncIterator[str]:
    """The URL that `esp-collector board --web` prints."""
    token = directory / "token"
    token.write_text(TOKEN)
    operations = Operations(office.store.database, office.clock, office.metrics)
    with serving(services(office), operations=operations) as url:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "collector", "board", "--web", "--port", "0",
            "--url", url, "--token-file", str(token),
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        )  # fmt: skip
        try:
            assert process.stdout is not None
            line = (await asyncio.wait_for(process.stdout.readline(), 60)).decode()
            assert line.startswith("ready http://127.0.0.1:")
            yield line.removeprefix("ready ").strip()
        finally:
            process.terminate()
            await process.communicate()


async def test_only_the_key_opens_it_and_no_other_sites_page(
    office: Office, tmp_path: Path
) -> None:
    async with web_board(office, tmp_path) as url, httpx.AsyncClient() as browser:
        base = url.partition("/?")[0]
        for path in ("/", "/?key=wrong", "/static/js/textual.js", "/ws"):
            assert (await browser.get(base + path)).status_code == 403
        entered = await browser.get(url)
        assert entered.status_code == 303
        assert entered.headers["location"] == "/", "the key does not stay in the address"
        cookie = entered.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        shown = await browser.get(base + "/")
        assert shown.status_code == 200
        assert shown.headers["x-frame-options"] == "DENY"
        assert "https://" not in shown.text, "nothing is fetched from elsewhere"
        headers = {"Origin": "http://evil.example", "Upgrade": "websocket", "Connection": "Upgrade"}
        assert (await browser.get(base + "/ws", headers=headers)).status_code == 403


class Page:
    """A page of a headless browser, by its debugging protocol."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self._calls = 0
        self._shown = ""
        self.asked: list[str] = []

    async def call(self, method: str, **given: Any) -> dict[str, Any]:
        self._calls += 1
        await self._socket.send_json({"id": self._calls, "method": method, "params": given})
        while (told := await self._hear()).get("id") != self._calls:
            pass
        result: dict[str, Any] = told["result"]
        return result

    async def _hear(self) -> dict[str, Any]:
        told: dict[str, Any] = await asyncio.wait_for(self._socket.receive_json(), 60)
        method = told.get("method")
        if method == "Network.requestWillBeSent":
            self.asked.append(told["params"]["request"]["url"])
        elif method == "Network.webSocketFrameReceived":
            frame = told["params"]["response"]
            if frame["opcode"] == BINARY:
                self._shown += base64.b64decode(frame["payloadData"]).decode(errors="replace")
        return told

    async def until_shown(self, words: str) -> None:
        """What the terminal in the page was told to show has these words."""
        while words not in self._shown:
            await self._hear()
        self._shown = ""

    async def drawn(self) -> bytes:
        """The picture after the page has drawn what it was told."""
        twice = "new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))"
        await self.call("Runtime.evaluate", expression=twice, awaitPromise=True)
        return base64.b64decode((await self.call("Page.captureScreenshot"))["data"])


@asynccontextmanager
async def browsing(directory: Path) -> AsyncIterator[Page]:
    assert CHROMIUM is not None, "skipped without it"
    process = await asyncio.create_subprocess_exec(
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0",
        "--window-size=1200,800", f"--user-data-dir={directory / 'profile'}", "about:blank",
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        said = b""
        while b"DevTools listening on" not in said:
            said = await asyncio.wait_for(process.stderr.readline(), 60)
            assert said, "the browser ended"
        port = urlsplit(said.decode().split()[-1]).port
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json") as listed:
                (target,) = [one for one in await listed.json() if one["type"] == "page"]
            async with session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                yield Page(socket)
    finally:
        process.terminate()
        await process.communicate()


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
@pytest.mark.timeout(180)
async def test_a_browser_shows_it_takes_keys_and_asks_nobody_else(
    office: Office, tmp_path: Path
) -> None:
    device = Reporter()
    office.take_in([device.begin(), device.move(42)])
    async with web_board(office, tmp_path) as url, browsing(tmp_path) as page:
        await page.call("Network.enable")
        await page.call("Page.navigate", url=url)
        await page.until_shown("john.doe@company.com")
        status = await page.drawn()
        await page.call("Runtime.evaluate", expression="document.querySelector('textarea').focus()")
        await page.call("Input.dispatchKeyEvent", type="char", text="5")
        await page.until_shown("initiated")
        report = await page.drawn()
        if directory := os.environ.get("ESP_PICTURES"):
            (Path(directory) / "web-status.png").write_bytes(status)
            (Path(directory) / "web-report.png").write_bytes(report)
        assert min(len(status), len(report)) > PNG_OF_SOMETHING_BYTES, "an empty page is smaller"
        asked = {urlsplit(one).hostname for one in page.asked if one.startswith("http")}
        assert asked == {"127.0.0.1"}
