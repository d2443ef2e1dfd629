"""The one exception of this room: what an operator can put right, said in one sentence."""

from __future__ import annotations


class BrokerProblem(Exception):
    """A mistake in what was asked for, or something that the machine refused; the message names the remedy."""
