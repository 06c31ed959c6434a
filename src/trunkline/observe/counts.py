"""What a worker counted since it started. Plain integers, added to once a flush; metrics read them at scrape time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Protocol


class Counted(Protocol):
    """What is counted of an attempt."""

    @property
    def kind(self) -> str:
        """The job type."""


class Counts:
    """Endings by (kind, what); what is completed, ready, deferred, failed, cancelled or lost."""

    def __init__(self) -> None:
        self.by_kind: Counter[tuple[str, str]] = Counter()
        self.lost = 0

    def ended(self, kind: str, what: str) -> None:
        """Count one answered report."""
        self.by_kind[kind, what] += 1
        if what == "lost":
            self.lost += 1

    def completed(self, jobs: Iterable[Counted]) -> None:
        """Count the completions of one flush."""
        for kind, count in Counter([job.kind for job in jobs]).items():
            self.by_kind[kind, "completed"] += count

    def total(self, what: str) -> int:
        """All kinds together."""
        return sum(count for (_, ended), count in self.by_kind.items() if ended == what)
