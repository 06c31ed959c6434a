"""What a bulk enqueue reads from its caller, a piece at a time.

Always true: every job comes out once and in its order; no more than one piece is read ahead, so a caller's iterator may be endless or
slow to make its jobs.
Called by: engine.producer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from trunkline.model import NewJob
from trunkline.store.copy import SLICE  # read at once, as they are put together: the socket gets its turn in between

PIECE = 1000  # jobs: what one function call takes


class Intake:
    """Jobs in pieces; `piece` is the next one, [] at the end; `looks_plain` says of a job whether it can be copied."""

    def __init__(self, jobs: Iterable[NewJob], *, is_plain: Callable[[NewJob], bool] = lambda job: job.is_plain) -> None:
        self.looks_plain = is_plain
        self._jobs = iter(jobs)
        self.piece: list[NewJob] = []
        self.step()

    @property
    def is_plain(self) -> bool:
        """Whether the next piece can be copied."""
        return all(map(self.looks_plain, self.piece))

    def step(self, most: int = PIECE) -> None:
        """Go on to the next piece, of up to `most` jobs."""
        self.piece = []
        self.fill(most)

    def fill(self, most: int = PIECE) -> None:
        """Let the next piece have up to `most` jobs."""
        self.piece += islice(self._jobs, most - len(self.piece))

    def plain(self, most: int, taken: list[list[NewJob]]) -> Iterator[NewJob]:
        """Jobs of the next pieces as long as those are plain, about `most`; each piece is noted in `taken` before its first job."""
        count = 0
        while self.piece and count < most and self.is_plain:
            taken.append(self.piece)
            count += len(self.piece)
            yield from self.piece
            self.step(SLICE)
