"""How long a step takes on a real device, where a scenario says nothing else."""

from __future__ import annotations

from typing import Final

from agent.core.flows import BUILT_IN_STEPS
from agent.wire.vocabulary import ItemKind

KIND_SECONDS: Final[dict[ItemKind, float]] = {
    ItemKind.STEP: 20,
    ItemKind.SCREEN: 15,
    ItemKind.POLICY: 15,
    ItemKind.CERTIFICATE: 10,
    ItemKind.NETWORK: 6,
    ItemKind.APP: 120,
}
"""For anything that has no time of its own."""


DIRECTORY_SECONDS: Final = 25 * 60
"""From a domain join until Microsoft Entra knows the device: Entra Connect synchronizes every 30 minutes by default."""


def step_seconds(step: str, kind: ItemKind) -> float:
    """The median time of a step, in seconds: what the platform's flow expects, else its kind's."""
    built_in = BUILT_IN_STEPS.get(step)
    return KIND_SECONDS[kind] if built_in is None else built_in.expected_s
