"""Retelling: folds the inputs of a device, and goes on from a checkpoint where this version would tell another story."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from agent.core.batch import Checkpoint, Entry
from agent.core.checkpoint import CheckpointUnreadable
from agent.core.effects import Effect
from agent.core.enrollment import Enrollment
from agent.core.fingerprint import is_told_otherwise

_UNREADABLE: Final = "it can't be read"


@dataclass(frozen=True, slots=True)
class Told:
    """One input, and the machine right after it."""

    entry: Entry
    machine: Enrollment
    """The same object for every input, but another one where the story goes on from a checkpoint."""
    effects: Sequence[Effect]
    differs: bool
    """Whether the version that wrote this input told it otherwise."""


@dataclass(frozen=True, slots=True)
class Continuation:
    """Where a story goes on from a checkpoint."""

    checkpoint: Checkpoint
    at: int
    """The first input that is told from there: the checkpoint's own, unless the trouble came after it."""
    writer: str
    """The version that wrote the checkpoint; empty when that is not known."""
    effects: Sequence[Effect] = ()
    """What the input at that place caused, as far as this version can tell."""


class Retelling:
    """The inputs of one device as this version tells them: go through it once, then look at what was found.

    Trouble is an input whose fingerprint contradicts the fold, one at which this version fails, or one that is
    missing. After trouble the newest checkpoint that can be read is the truth: up to it the fold goes on as far as it
    can, and from it on the machine that was restored. Without a checkpoint a fold that only differs goes on by
    itself, and one that failed ends there.
    """

    def __init__(self, entries: Sequence[Entry], checkpoints: Sequence[Checkpoint]) -> None:
        self.machine = Enrollment()
        self.differs: Entry | None = None
        """The first input that its writer told otherwise."""
        self.agreed: list[int] = []
        """The inputs before it whose fingerprints agree."""
        self.failed = 0
        """The number of the input that could not be told; 0 when none is."""
        self.failure = ""
        """Why not."""
        self.continued: Continuation | None = None
        self.is_lost = False
        """Whether no machine is left that knows where the device is."""
        self._entries = entries
        self._kept = sorted(checkpoints, key=lambda c: c.n, reverse=True)
        self._readable: list[Checkpoint] | None = None
        self._is_mended = False

    @property
    def last_n(self) -> int:
        """The number of the last input that the machine has taken; 0 before the first."""
        last = self._entries[-1].n if self._entries else 0
        return last if self.continued is None else max(last, self.continued.checkpoint.n)

    def __iter__(self) -> Iterator[Told]:
        """Every input that can be told, in order."""
        last = 0
        for entry in self._entries:
            if entry.n != last + 1:
                self._fail(last + 1, _UNREADABLE)
            last = entry.n
            effects = self._handle(entry)
            differs = self._compare(entry)
            if self._is_due(entry.n):
                effects = self._mend(entry.n, effects)
            if not self.is_lost:
                yield Told(entry, self.machine, effects, differs)
        if self._kept and last < self._kept[0].n:
            self._fail(last + 1, _UNREADABLE)
            if not self._is_mended and self._checkpoints():
                self._mend(max(last, self._checkpoints()[0].n), ())

    def told_from(self) -> tuple[Enrollment, Sequence[Effect]]:
        """The machine right after the input at which the story goes on from a checkpoint, made anew, and its effects."""
        assert self.continued is not None, (
            "only a story that goes on from a checkpoint is told from one"
        )
        machine, _ = self._restored(self.continued.checkpoint, self.continued.at)
        return machine, self.continued.effects

    # One input.

    def _handle(self, entry: Entry) -> Sequence[Effect]:
        if self.is_lost:
            return ()
        try:
            return self.machine.handle(entry.event, entry.at_ms)
        except Exception as error:  # noqa: BLE001 - whatever another version wrote, this one says where it fails
            self._fail(entry.n, f"{type(error).__name__}: {error}")
            return ()

    def _compare(self, entry: Entry) -> bool:
        if self.is_lost or entry.digest is None or self.machine.attempt is None:
            return False
        differs = is_told_otherwise(entry.digest, self.machine)
        if self.differs is None and not self.failed:
            if differs:
                self.differs = entry
            else:
                self.agreed.append(entry.n)
        return differs

    def _fail(self, n: int, reason: str) -> None:
        if not self.is_lost:
            self.is_lost, self.failed, self.failure = True, n, reason

    # Going on from a checkpoint.

    def _is_due(self, n: int) -> bool:
        """Whether there was trouble, and no checkpoint is still to come."""
        in_trouble = self.is_lost or self.differs is not None
        return in_trouble and not self._is_mended and all(c.n <= n for c in self._checkpoints())

    def _mend(self, n: int, effects: Sequence[Effect]) -> Sequence[Effect]:
        """Put the machine of the newest usable checkpoint in the place of this one; the effects of the input there."""
        self._is_mended = True
        for checkpoint in self._checkpoints():
            try:
                self.machine, fed = self._restored(checkpoint, n)
            except Exception:  # noqa: BLE001, S112 - an older checkpoint may do, and what failed first is told
                continue
            self.is_lost = False
            effects = effects if fed is None else fed
            self.continued = Continuation(checkpoint, n, self.writer_of(checkpoint.n), effects)
            return effects
        return effects

    def _restored(
        self, checkpoint: Checkpoint, n: int
    ) -> tuple[Enrollment, Sequence[Effect] | None]:
        """The machine of a checkpoint, fed with what came after it up to one input; with that input's effects."""
        machine = Enrollment.restored(checkpoint.content)
        effects: Sequence[Effect] | None = None
        later = [e for e in self._entries if checkpoint.n < e.n <= n]
        if len(later) != n - checkpoint.n:
            raise CheckpointUnreadable(f"inputs after {checkpoint.n} are missing")
        for entry in later:
            effects = machine.handle(entry.event, entry.at_ms)
        return machine, effects

    def _checkpoints(self) -> Sequence[Checkpoint]:
        """Those that this version can read, the newest first."""
        if self._readable is None:
            self._readable = list(filter(_can_be_read, self._kept))
        return self._readable

    def writer_of(self, n: int) -> str:
        """The version that wrote an input; where it can't be read, the one that wrote the next, or empty."""
        return next((e.machine_version for e in self._entries if e.n >= n), "")


def _can_be_read(checkpoint: Checkpoint) -> bool:
    try:
        Enrollment.restored(checkpoint.content)
    except CheckpointUnreadable:
        return False
    return True


def told_otherwise(retelling: Retelling, version: str) -> str:
    """What is to be said of a story that this version does not tell as it was written; empty when it does."""
    parts = [*_troubles(retelling, version), *_way_on(retelling)]
    told = "; ".join(parts)
    return told[:1].upper() + told[1:]


def _troubles(retelling: Retelling, version: str) -> Iterator[str]:
    if (found := retelling.differs) is not None:
        since = retelling.agreed[-1] + 1 if retelling.agreed else 1
        inputs = f"input {since} to {found.n}" if since < found.n else f"input {found.n}"
        yield (
            f"from {inputs} on, version {version} tells this otherwise than version "
            f"{found.machine_version} did on the device"
        )
    if n := retelling.failed:
        which = f"input {n} and all after it are" if retelling.is_lost else f"input {n} is"
        yield f"{which} not understood by version {version} ({retelling.failure})"


def _way_on(retelling: Retelling) -> Iterator[str]:
    continued, failed = retelling.continued, retelling.failed
    if continued is None:
        return
    if 0 < failed < continued.at:
        yield f"nothing is told from input {failed} to {continued.at - 1}"
    n, writer = continued.checkpoint.n, continued.writer
    who = f"version {writer}" if writer else "an older version"
    yield f"from input {continued.at} on, the story goes on from the state that {who} kept after input {n}"
