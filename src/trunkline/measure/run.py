"""One run: where it measures, how much, and whom it tells. Every measure gets this and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from trunkline.measure.server import Server

JOBS, SECONDS, PAIRS = 50_000, 60.0, 5  # of a full run
SLOWEST_PER_S = 200  # jobs/s; below, a process runs into its deadline


class MeasureFailed(RuntimeError):
    """A process ended, got stuck, or answered something else than it was asked for. Nothing was measured."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much to measure.

    Attributes:
        jobs: of a drain, a bulk enqueue, or held in flight; smaller measures take a share of it.
        seconds: of a sustained run.
        pairs: how often each side of a comparison runs.
        is_large: `--large`.
    """

    jobs: int = JOBS
    seconds: float = SECONDS
    pairs: int = PAIRS
    is_large: bool = False

    @property
    def samples(self) -> int:
        """Pickups: 200 of a full run, two of a pair at least."""
        return max(2 * self.pairs, min(200, self.jobs // 250))

    @property
    def singles(self) -> int:
        """Jobs enqueued one by one: a commit takes a millisecond or more, so 2,000 are seconds."""
        return max(self.pairs, min(2000, self.jobs // 25))

    @property
    def idle_s(self) -> float:
        """How long an idle worker is watched."""
        return min(10.0, self.seconds)

    @property
    def deadline_s(self) -> float:
        """The longest any process of a run may live."""
        return 60 + 3 * self.seconds + self.jobs / SLOWEST_PER_S


@dataclass(frozen=True, slots=True)
class Run:
    """What a measure needs.

    Attributes:
        say: progress for a person: what, how much is done, of how much.
        seen: results that a later measure compares with, by name; so `sustained` runs once.
    """

    server: Server
    sizes: Sizes
    say: Callable[[str, float, float], None] = lambda what, done, total: None
    seen: dict[str, object] = field(default_factory=dict)
