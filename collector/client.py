"""Speaks to a collector's API, for command lines and the board."""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlencode

import httpx
from pydantic import BaseModel, ValidationError

from agent.wire.codec import PayloadRefused, decode
from agent.wire.messages import CommandAction, Status
from collector.pages import page
from collector.pages.history import CommandLine, DeviceHistory, Registrations
from collector.pages.incomplete_page import CsvTable, IncompleteEnrollments
from collector.pages.operations_page import (
    NewWebhook,
    StuckItems,
    WebhookDetails,
    WebhookList,
    WebhookRequest,
    WebhookTest,
)
from collector.problem import Problem
from collector.profiles.setup import ProfileEntry, Registration
from collector.stuck.standing import Standing

URL_VARIABLE: Final = "ESP_COLLECTOR_URL"
DEFAULT_URL: Final = "http://127.0.0.1:8080"
"""Where `serve` listens when nobody says otherwise."""
TOKEN_VARIABLE: Final = "ESP_COLLECTOR_TOKEN_FILE"  # noqa: S105
CA_VARIABLE: Final = "ESP_COLLECTOR_CA_FILE"
CERTIFICATE_VARIABLE: Final = "ESP_COLLECTOR_CLIENT_CERTIFICATE_FILE"
TIMEOUT_S: Final = 10.0
STATUS_PATH: Final = "/api/devices/enrollment-status"
PROFILES_PATH: Final = "/api/devices/esp-profiles"
ORDER_PATH: Final = "/api/devices/esp-profile-order"
INCOMPLETE_PATH: Final = "/api/reports/incomplete-user-enrollments"
WEBHOOKS_PATH: Final = "/api/webhooks"
SILENCE_S: Final = 45.0
"""Three heartbeats of the live updates: longer without one, and the connection is gone."""
PAGE_MAX: Final = 1_000

A = TypeVar("A", bound=BaseModel)


class CollectorUnreachable(Exception):
    """No answer, or none that can be used: one sentence with the remedy."""


class CollectorRefused(Exception):
    """The collector refused the request: its own sentence."""


@dataclass(frozen=True, slots=True)
class Access:
    """Where the collector is, and the token that opens it."""

    url: str
    token: str

    @classmethod
    def of(cls, url: str | None, token_file: Path | None) -> Access:
        """From options, or from the environment where they are left out.

        Raises:
            CollectorUnreachable: one of them is missing or can't be read.
        """
        found = url or os.environ.get(URL_VARIABLE) or DEFAULT_URL
        if not found.startswith(("http://", "https://")):
            raise CollectorUnreachable(
                f"--url '{found}' is no address; write http://HOST:PORT as `serve` printed it"
            )
        file = token_file or (
            Path(os.environ[TOKEN_VARIABLE]) if TOKEN_VARIABLE in os.environ else None
        )
        if file is None:
            raise CollectorUnreachable(
                f"no token was given; give --token-file or set {TOKEN_VARIABLE} to DATA/token"
            )
        try:
            token = file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            token = ""
        # Anything else would be shown whole in the sentence that refuses it as a header.
        if not token.isprintable() or len(token.split()) != 1:
            raise CollectorUnreachable(
                f"{file}: can't be read as a token; give the file 'token' of the collector's data directory"
            )
        return cls(found.rstrip("/"), token)


class Collector:
    """An open client; requests raise `CollectorUnreachable` and `CollectorRefused`."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def status(self) -> page.EnrollmentStatus:
        """Overview and platforms."""
        return await self._get(page.EnrollmentStatus, STATUS_PATH)

    async def active(self) -> page.ActiveEnrollments:
        """The enrollments in progress, at most a thousand of them; `total` says how many there are."""
        return await self._get(page.ActiveEnrollments, f"{STATUS_PATH}/active?limit={PAGE_MAX}")

    async def failures(self) -> page.EnrollmentFailures:
        """Recent failures and common reasons."""
        return await self._get(page.EnrollmentFailures, f"{STATUS_PATH}/failures")

    async def profiles(self) -> page.ProfileList:
        """The ESP profiles."""
        return await self._get(page.ProfileList, f"{PROFILES_PATH}?limit={PAGE_MAX}")

    async def add_profile(self, entry: ProfileEntry) -> page.ProfileRow:
        """Create a profile."""
        content = entry.model_dump(mode="json", exclude_unset=True)
        return await self._post(page.ProfileRow, PROFILES_PATH, content)

    async def change_profile(self, profile: str, patch: Mapping[str, Any]) -> page.ProfileRow:
        """Change what the patch names, unless somebody else changes the profile at the same time."""
        path = f"{PROFILES_PATH}/{profile}"
        headers = {"If-Match": await self._etag(path)}
        return await self._request(page.ProfileRow, "PATCH", path, dict(patch), headers)

    async def delete_profile(self, profile: str) -> None:
        """Take a profile away, unless somebody changes it at the same time."""
        path = f"{PROFILES_PATH}/{profile}"
        await self._answer("DELETE", path, None, {"If-Match": await self._etag(path)})

    async def order_profiles(self, profiles: Sequence[str]) -> page.ProfileOrder:
        """Look at these profiles first; returns the whole order, without the default."""
        content, headers = {"profiles": list(profiles)}, {"If-Match": "*"}
        return await self._request(page.ProfileOrder, "PUT", ORDER_PATH, content, headers)

    async def incomplete(self, asked: Mapping[str, Any]) -> IncompleteEnrollments:
        """The incomplete-enrollments report; `asked` are the parameters of the query."""
        query = urlencode(asked, doseq=True)
        return await self._get(IncompleteEnrollments, f"{INCOMPLETE_PATH}?{query}")

    async def incomplete_csv(self, table: CsvTable, asked: Mapping[str, Any]) -> str:
        """One table of the report for a spreadsheet."""
        query = urlencode(asked, doseq=True)
        response = await self._answer("GET", f"{INCOMPLETE_PATH}/{table.value}.csv?{query}", None)
        return response.text

    async def effective_profile(
        self, device: str, asked: Mapping[str, str]
    ) -> page.EffectiveProfile:
        """Which profile a device would get, and why; `asked` overrides what is known of it."""
        query = f"?{urlencode(asked)}" if asked else ""
        return await self._get(
            page.EffectiveProfile, f"/api/devices/{device}/effective-profile{query}"
        )

    async def register(self, devices: list[Registration]) -> int:
        """Register devices; returns how many."""
        content = {"devices": [d.model_dump(mode="json", exclude_none=True) for d in devices]}
        return len((await self._post(Registrations, "/api/registrations", content)).devices)

    async def history(self, device: str) -> DeviceHistory:
        """What is stored about one device."""
        return await self._get(DeviceHistory, f"/api/devices/{device}")

    async def standing(self, device: str) -> Standing:
        """Where a device is and why."""
        return await self._get(Standing, f"/api/devices/{device}/standing")

    async def stuck(self) -> StuckItems:
        """The items that are stuck."""
        return await self._get(StuckItems, f"{STATUS_PATH}/stuck")

    async def webhooks(self) -> WebhookList:
        """All webhooks."""
        return await self._get(WebhookList, WEBHOOKS_PATH)

    async def webhook(self, webhook: str) -> WebhookDetails:
        """One webhook with what it has not got."""
        return await self._get(WebhookDetails, f"{WEBHOOKS_PATH}/{quote(webhook, safe='')}")

    async def add_webhook(self, asked: WebhookRequest) -> NewWebhook:
        """Tell a URL from now on."""
        return await self._post(NewWebhook, WEBHOOKS_PATH, asked.model_dump(mode="json"))

    async def test_webhook(self, webhook: str) -> WebhookTest:
        """Send a test message now."""
        path = f"{WEBHOOKS_PATH}/{quote(webhook, safe='')}/test"
        return await self._post(WebhookTest, path, None)

    async def remove_webhook(self, webhook: str) -> None:
        """Tell it nothing any more."""
        await self._answer("DELETE", f"{WEBHOOKS_PATH}/{quote(webhook, safe='')}", None)

    async def changes(self, device: str | None = None) -> AsyncIterator[bool]:
        """True whenever something was stored, False as a sign of life in between, until the connection ends."""
        timeout = httpx.Timeout(TIMEOUT_S, read=SILENCE_S)
        query = f"?device={device}" if device is not None else ""
        try:
            async with self._client.stream(
                "GET", f"/api/events{query}", timeout=timeout
            ) as response:
                if response.status_code != 200:
                    await response.aread()
                    _raise_for(response)
                async for line in response.aiter_lines():
                    if line.startswith(("event:", "id:")):
                        yield line.startswith("event:")
        except httpx.HTTPError as error:
            raise _unreachable(self._client, error) from None

    async def send(self, device: str, action: CommandAction, issued_by: str) -> CommandLine:
        """Send a command to a device."""
        content = {"action": action.model_dump(mode="json"), "issued_by": issued_by}
        return await self._post(CommandLine, f"/api/devices/{device}/commands", content)

    async def command(self, command: str) -> CommandLine:
        """What became of a command."""
        return await self._get(CommandLine, f"/api/commands/{command}")

    async def screen(self, device: str) -> AsyncIterator[Status]:
        """The device's status as it changes, until the collector ends it."""
        # Nothing may come for long: a device that waits for a person has nothing new to say.
        timeout = httpx.Timeout(TIMEOUT_S, read=None)
        try:
            async with self._client.stream(
                "GET", f"/api/devices/{device}/screen", timeout=timeout
            ) as response:
                if response.status_code != 200:
                    await response.aread()
                    _raise_for(response)
                async for line in response.aiter_lines():
                    yield decode(Status, line)
        except (httpx.HTTPError, PayloadRefused) as error:
            raise _unreachable(self._client, error) from None

    async def _get(self, model: type[A], path: str) -> A:
        return await self._request(model, "GET", path, None)

    async def _post(self, model: type[A], path: str, content: Any) -> A:
        return await self._request(model, "POST", path, content)

    async def _etag(self, path: str) -> str:
        return str((await self._answer("GET", path, None)).headers.get("etag", "*"))

    async def _request(
        self,
        model: type[A],
        method: str,
        path: str,
        content: Any,
        headers: Mapping[str, str] | None = None,
    ) -> A:
        response = await self._answer(method, path, content, headers)
        try:
            return model.model_validate_json(response.content)
        except ValidationError:
            raise CollectorUnreachable(
                f"{self._client.base_url} answers as no collector of this version does; check --url"
            ) from None

    async def _answer(
        self, method: str, path: str, content: Any, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        try:
            response = await self._client.request(method, path, json=content, headers=headers)
        except httpx.HTTPError as error:
            raise _unreachable(self._client, error) from None
        _raise_for(response)
        return response


def _raise_for(response: httpx.Response) -> None:
    if response.is_success:
        return
    try:
        problem = Problem.model_validate_json(response.content)
    except ValidationError:
        raise CollectorUnreachable(
            f"{response.url} answered {response.status_code} and is no collector; check --url"
        ) from None
    if response.status_code == 401:
        raise CollectorUnreachable("the token is not the collector's; check --token-file")
    raise CollectorRefused(f"{problem.key}: {problem.detail}" if problem.key else problem.detail)


def _unreachable(client: httpx.AsyncClient, error: Exception) -> CollectorUnreachable:
    reason = str(error) or type(error).__name__
    return CollectorUnreachable(
        f"no answer from {client.base_url} ({reason}); check that the collector runs and that --url is right"
    )


def _trust(url: str) -> ssl.SSLContext | bool:
    """Whom to believe that it is the collector: the authorities of this machine, and the one that the variable names."""
    if not url.startswith("https://"):
        return True
    context = ssl.create_default_context()
    ca, certificate = os.environ.get(CA_VARIABLE), os.environ.get(CERTIFICATE_VARIABLE)
    try:
        if ca:
            context.load_verify_locations(ca)
        if certificate:
            context.load_cert_chain(certificate)
    except OSError as error:
        raise CollectorUnreachable(
            f"${CA_VARIABLE} or ${CERTIFICATE_VARIABLE}: can't be used ({error.strerror or error}); give PEM files"
        ) from None
    return context


@asynccontextmanager
async def connected(access: Access) -> AsyncIterator[Collector]:
    """A client for as long as the context lasts."""
    headers = {"Authorization": f"Bearer {access.token}"}
    async with httpx.AsyncClient(
        base_url=access.url,
        headers=headers,
        timeout=TIMEOUT_S,
        trust_env=False,
        verify=_trust(access.url),
    ) as client:
        yield Collector(client)
