"""Speaks to a collector's API, for command lines and the board."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

import httpx
from pydantic import BaseModel, ValidationError

from agent.wire.codec import PayloadRefused, decode
from agent.wire.messages import CommandAction, Status
from collector import page
from collector.setup import ProfileEntry, Registration

URL_VARIABLE: Final = "ESP_COLLECTOR_URL"
TOKEN_VARIABLE: Final = "ESP_COLLECTOR_TOKEN_FILE"  # noqa: S105
TIMEOUT_S: Final = 10.0
STATUS_PATH: Final = "/api/devices/enrollment-status"
PROFILES_PATH: Final = "/api/devices/esp-profiles"

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
        found = url or os.environ.get(URL_VARIABLE)
        if not found:
            raise CollectorUnreachable(
                f"no collector was named; give --url or set {URL_VARIABLE}, for example http://127.0.0.1:8080"
            )
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
            return cls(found.rstrip("/"), file.read_text(encoding="ascii").strip())
        except (OSError, UnicodeDecodeError):
            raise CollectorUnreachable(
                f"{file}: can't be read as a token; give the file 'token' of the collector's data directory"
            ) from None


class Collector:
    """An open client; requests raise `CollectorUnreachable` and `CollectorRefused`."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def status(self) -> page.EnrollmentStatus:
        """Overview and platforms."""
        return await self._get(page.EnrollmentStatus, STATUS_PATH)

    async def active(self) -> page.ActiveEnrollments:
        """The enrollments in progress."""
        return await self._get(page.ActiveEnrollments, f"{STATUS_PATH}/active")

    async def failures(self) -> page.EnrollmentFailures:
        """Recent failures and common reasons."""
        return await self._get(page.EnrollmentFailures, f"{STATUS_PATH}/failures")

    async def profiles(self) -> page.ProfileList:
        """The ESP profiles."""
        return await self._get(page.ProfileList, PROFILES_PATH)

    async def add_profile(self, entry: ProfileEntry) -> page.ProfileRow:
        """Create a profile."""
        content = entry.model_dump(mode="json", exclude_unset=True)
        return await self._post(page.ProfileRow, PROFILES_PATH, content)

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
        return len((await self._post(page.Registrations, "/api/registrations", content)).devices)

    async def history(self, device: str) -> page.DeviceHistory:
        """What is stored about one device."""
        return await self._get(page.DeviceHistory, f"/api/devices/{device}")

    async def send(self, device: str, action: CommandAction, issued_by: str) -> page.CommandLine:
        """Send a command to a device."""
        content = {"action": action.model_dump(mode="json"), "issued_by": issued_by}
        return await self._post(page.CommandLine, f"/api/devices/{device}/commands", content)

    async def command(self, command: str) -> page.CommandLine:
        """What became of a command."""
        return await self._get(page.CommandLine, f"/api/commands/{command}")

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

    async def _request(self, model: type[A], method: str, path: str, content: Any) -> A:
        try:
            response = await self._client.request(method, path, json=content)
        except httpx.HTTPError as error:
            raise _unreachable(self._client, error) from None
        _raise_for(response)
        try:
            return model.model_validate_json(response.content)
        except ValidationError:
            raise CollectorUnreachable(
                f"{self._client.base_url} answers as no collector of this version does; check --url"
            ) from None


def _raise_for(response: httpx.Response) -> None:
    if response.is_success:
        return
    try:
        problem = page.ProblemAnswer.model_validate_json(response.content).error
    except ValidationError:
        raise CollectorUnreachable(
            f"{response.url} answered {response.status_code} and is no collector; check --url"
        ) from None
    if response.status_code == 401:
        raise CollectorUnreachable("the token is not the collector's; check --token-file")
    raise CollectorRefused(f"{problem.key}: {problem.message}" if problem.key else problem.message)


def _unreachable(client: httpx.AsyncClient, error: Exception) -> CollectorUnreachable:
    reason = str(error) or type(error).__name__
    return CollectorUnreachable(
        f"no answer from {client.base_url} ({reason}); check that the collector runs and that --url is right"
    )


@asynccontextmanager
async def connected(access: Access) -> AsyncIterator[Collector]:
    """A client for as long as the context lasts."""
    headers = {"Authorization": f"Bearer {access.token}"}
    async with httpx.AsyncClient(
        base_url=access.url, headers=headers, timeout=TIMEOUT_S, trust_env=False
    ) as client:
        yield Collector(client)
