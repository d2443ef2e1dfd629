"""Which of two words counts: that of the newer lease, and that of the newer session."""

from __future__ import annotations


def may_commit(term: int, current_term: int | None) -> bool:
    """Whether a commit under this lease term counts, when the store says which is the partition's current one."""
    return term == current_term


def counts(session: int, known_session: int | None) -> bool:
    """Whether a birth, goodbye or will of this session counts; those of an older one than is known come too late."""
    return known_session is None or session >= known_session
