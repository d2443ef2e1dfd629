"""Settings of the agent: from the environment (`ESP_AGENT_...`), where the command line says nothing."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from agent.wire.vocabulary import EnrollmentType

VERSION: Final = version("enrollment-agent")


class AgentSettings(BaseSettings):
    """What an endpoint's administrator may set once; each has a flag of the same name on the command line."""

    model_config = SettingsConfigDict(env_prefix="ESP_AGENT_", frozen=True, extra="ignore")

    platform: EnrollmentType | None = None
    device: str | None = None
    user: str | None = None
    os_version: str | None = None
    broker: str | None = None
    tenant: str | None = None
    identity: Path | None = None
    state_dir: Path = Path("~/.local/state/esp-agent")
    logs: Path | None = None
    """Where log archives are written; None means the folder `logs` beside the journal."""
    endpoint: str = "simulated"
    speed: Annotated[float, Field(gt=0, le=100_000)] = 1.0
    linger: Annotated[float, Field(ge=0)] | None = None
    """Seconds to stay for reports that are not through; None stays until they are."""
    emergency_exit: bool = False
    keepalive: Annotated[int, Field(ge=5, le=3600)] = 60
    """Seconds; the broker tells others that this device is gone after one and a half times this."""
    log_level: str = "INFO"
