"""A fingerprint of what a fold tells, kept beside some inputs, so that a later version can say where it folds differently."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

from agent.core.enrollment import Enrollment
from agent.wire.progress import Progress

_WORDS: Final[Any] = {
    "platform": True,
    "remaining": True,
    "organization": True,
    "custom_message": True,
    "prompt": {"title", "text", "note", "actions"},
    "error": {"title", "message", "failures"},
    "failure": {"person", "engineer"},
    "logs": True,
    "phases": {
        "__all__": {
            "rows": {
                "__all__": {
                    "title": True,
                    "verb": True,
                    "items": {
                        "__all__": {
                            "name": True,
                            "activity": True,
                            "note": True,
                            "waits_for": True,
                            "failure": {"person", "engineer"},
                        }
                    },
                }
            }
        }
    },
}
"""What a new version may word or estimate better without telling another story."""


def fingerprint_of(progress: Progress) -> str:
    """The facts of a snapshot as 16 hexadecimal digits.

    Wording and estimates do not count, nor does a field that has its default, so that a version which only adds
    something still agrees.
    """
    facts = progress.model_dump(mode="json", exclude=_WORDS, exclude_defaults=True)
    content = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def is_told_otherwise(digest: str | None, machine: Enrollment) -> bool:
    """Whether a fold contradicts the fingerprint that was kept at this point; none contradicts nothing."""
    return digest is not None and digest != fingerprint_of(machine.progress)
