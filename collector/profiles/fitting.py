"""Whether an assignment fits into a message, found out before a device waits for one that can never be sent."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from agent.wire.assignment import Admitted, Assignment, Refused
from agent.wire.base import IDENTIFIER_LENGTH_MAX, NAME_LENGTH_MAX
from agent.wire.codec import PAYLOAD_BYTES_MAX, SIGNATURE_TYPES
from agent.wire.messages import Signed
from agent.wire.progress import Failure
from agent.wire.topics import Channel
from agent.wire.vocabulary import FailureKind

_CODE: Final = "badRequest"
_COUNT_MAX: Final = 2**53
_PLACEHOLDER: Final = "p"
_SIGNATURE_CHARACTERS: Final = (
    86  # The 64 bytes of an Ed25519 signature in base64url without padding.
)
_HEADER: Final = (
    f'{{"alg":"EdDSA","kid":"{"0" * 32}","typ":"{SIGNATURE_TYPES[Channel.ASSIGNMENT]}"}}'
)


@dataclass(frozen=True, slots=True)
class Overflow:
    """An assignment that is too large to be sent. Sizes are bytes of its signed form."""

    total: int
    item_count: int
    items: int
    profile: str
    field: str
    """The profile's largest setting."""
    field_bytes: int

    @property
    def is_of_items(self) -> bool:
        """The items take more of it than the profile's largest setting."""
        return self.items >= self.field_bytes

    @property
    def sizes(self) -> str:
        """What takes how much."""
        return (
            f"takes {self.total:,} bytes once it is signed and a message holds {PAYLOAD_BYTES_MAX:,} "
            f"({self.item_count} items take {self.items:,}, {self.field} {self.field_bytes:,})"
        )

    @property
    def remedy(self) -> str:
        """What makes it smaller, the most effective first."""
        items, setting = "assign fewer items", f"shorten {self.field}"
        return f"{items} or {setting}" if self.is_of_items else f"{setting} or {items}"


def signed_bytes(decision: Admitted | Refused) -> int:
    """The size of a decision as it travels, with the longest names and numbers that can stand around it."""
    message = Assignment(
        device="d" * NAME_LENGTH_MAX,
        attempt="a" * IDENTIFIER_LENGTH_MAX,
        store="s" * IDENTIFIER_LENGTH_MAX,
        term=_COUNT_MAX,
        version=_COUNT_MAX,
        issued_at=datetime.max.replace(tzinfo=UTC),
        decision=decision,
    )
    return _AROUND + _base64_characters(len(message.model_dump_json(exclude_none=True).encode()))


def _base64_characters(size: int) -> int:
    return (size * 4 + 2) // 3


_AROUND: Final = len(
    Signed(
        protected="p" * _base64_characters(len(_HEADER)),
        payload=_PLACEHOLDER,
        signature="s" * _SIGNATURE_CHARACTERS,
    ).model_dump_json()
) - len(_PLACEHOLDER)


def overflow(offer: Admitted) -> Overflow | None:
    """Why the offer can't be sent; None when it can."""
    total = signed_bytes(offer)
    if total <= PAYLOAD_BYTES_MAX:
        return None
    settings = {
        name: _base64_characters(len(offer.profile.model_dump_json(include={name}).encode()))
        for name in ("custom_message", "blocking_apps", "description", "graph")
    }
    field = max(settings, key=lambda name: settings[name])
    return Overflow(
        total=total,
        item_count=len(offer.items),
        items=total - signed_bytes(offer.model_copy(update={"items": ()})),
        profile=offer.profile.name,
        field=field,
        field_bytes=settings[field],
    )


def fitted(decision: Admitted | Refused) -> Admitted | Refused:
    """The decision, or a refusal where it is too large to be sent: a device has to hear something."""
    found = overflow(decision) if isinstance(decision, Admitted) else None
    if found is None:
        return decision
    return Refused(
        failure=Failure(
            kind=FailureKind.BAD_ASSIGNMENT,
            code=_CODE,
            person="Your organization's settings for this device can't be used. Ask your support person.",
            engineer=f"The assignment with profile '{found.profile}' {found.sizes}: {found.remedy}.",
        )
    )
