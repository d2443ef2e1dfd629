"""What it means that a device refused a message on its own topics, and what to do about it."""

from __future__ import annotations

from typing import Final

from agent.wire.events import MessageRefused
from agent.wire.vocabulary import MessageKind, RefusalReason

_LOOK: Final = "run `esp-broker check`, and look in the broker's log for who publishes on them"
_SOMEBODY: Final = f"Somebody else can write on this device's topics: {_LOOK}."
_IF_NOT: Final = f"If that is not so, somebody else can write on this device's topics: {_LOOK}."

_WHAT: Final = {
    RefusalReason.UNSIGNED: "came without a signature, and the collector signs every one",
    RefusalReason.SIGNATURE: "had a signature that does not verify: it was forged, or altered",
    RefusalReason.UNKNOWN_KEY: "was signed with a key that the device does not trust",
    RefusalReason.OTHER_DEVICE: "names another device",
    RefusalReason.OTHER_COMMAND: "came under the id of another one",
    RefusalReason.REPLAYED: "came again long after it was answered and its time was over",
    RefusalReason.UNREADABLE: "could not be understood",
}

_DO: Final = {
    RefusalReason.UNKNOWN_KEY: (
        "If the collector's keys were changed, give the device its identity anew "
        f"(`esp-broker device NAME --trust KEYS/public.pem`). {_IF_NOT}"
    ),
    RefusalReason.REPLAYED: (
        "A broker that came back with an older memory does that, and one that no collector could tidy up. "
        f"{_IF_NOT}"
    ),
    RefusalReason.UNREADABLE: (
        f"If the collector is newer than the agent, update the agent. {_IF_NOT}"
    ),
}
"""Where it need not be somebody else."""


def meaning(refused: MessageRefused) -> str:
    """What happened, that the device did nothing of it, and what to do: for an operator."""
    article = "A" if refused.message is MessageKind.COMMAND else "An"
    what = f"{article} {refused.message.label} for this device {_WHAT[refused.reason]}"
    return f"{what}. The device did nothing of it. {_DO.get(refused.reason, _SOMEBODY)}"
