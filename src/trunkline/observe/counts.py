"""What a process counted since it started. Plain integers, added to once a flush; metrics read them at scrape time.

Always true: no job costs a statement for being counted; names that tenants make up cannot make the number of labels grow (`Labels`).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Protocol

MOST_PAIRS = 500  # (kind, queue) of jobs that are not this process's own
MOST_OF_TENANT = 20  # ... of one tenant
OTHER = ("other", "other")
SOCKET_ERRORS = ("slow", "silent", "protocol", "refused", "broken")  # reasons
_pair = attrgetter("kind", "queue")


class Named(Protocol):
    """A job on its way in."""

    @property
    def kind(self) -> str:
        """The job type."""

    @property
    def queue(self) -> str:
        """Its line."""


class Counted(Protocol):
    """What is counted of an attempt."""

    @property
    def kind(self) -> str:
        """The job type."""


class Labels:
    """Which (kind, queue) a counter shows by name: those of the handlers here, and of others the first ones."""

    def __init__(self, is_own: Callable[[str, str], bool] = lambda kind, queue: False) -> None:
        self.is_own = is_own
        self._shown: set[tuple[int, str, str]] = set()
        self._of_tenant: Counter[int] = Counter()

    def of(self, tenant_id: int, kind: str, queue: str) -> tuple[str, str]:
        """The labels of a job."""
        key = (tenant_id, kind, queue)
        if key in self._shown or self.is_own(kind, queue):
            return kind, queue
        if len(self._shown) >= MOST_PAIRS or self._of_tenant[tenant_id] >= MOST_OF_TENANT:
            return OTHER
        self._shown.add(key)
        self._of_tenant[tenant_id] += 1
        return kind, queue


class Longest:
    """The largest of the values noted within the last minute or so (30 to 60 s)."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began, self._now, self._before = clock(), 0.0, 0.0

    def note(self, value: float) -> None:
        """One more."""
        self._turn()
        self._now = max(self._now, value)

    @property
    def value(self) -> float:
        """0: nothing was noted."""
        self._turn()
        return max(self._now, self._before)

    def _turn(self) -> None:
        past = self._clock() - self._began
        if past >= 30:
            self._before, self._now = (self._now, 0.0) if past < 60 else (0.0, 0.0)
            self._began = self._clock()


class Sockets:
    """What happened at one door: sockets that are open, messages put out, sockets that ended badly by reason."""

    def __init__(self) -> None:
        self.open = self.sent = 0
        self.errors: Counter[str] = Counter()


class ProcessCounts:
    """Of one process: the jobs it put in by labels, how long jobs stood in line before it claimed them, its sockets by dialect."""

    def __init__(self) -> None:
        self.labels = Labels()
        self.created: Counter[tuple[str, str]] = Counter()
        self.pickup = Longest()
        self.sockets: dict[str, Sockets] = {}

    def enqueued(self, tenant_id: int, jobs: Sequence[Named]) -> None:
        """Count jobs that are new."""
        if len(jobs) == 1:
            self.created[self.labels.of(tenant_id, jobs[0].kind, jobs[0].queue)] += 1
            return
        for (kind, queue), count in Counter(map(_pair, jobs)).items():
            self.created[self.labels.of(tenant_id, kind, queue)] += count

    def fired(self, tenant_id: int, kind: str, queue: str, count: int) -> None:
        """Count what a schedule put in."""
        self.created[self.labels.of(tenant_id, kind, queue)] += count

    def some_enqueued(self, tenant_id: int, jobs: Sequence[Named], are_new: Iterable[bool]) -> None:
        """The same, of jobs some of which were there already."""
        self.enqueued(tenant_id, [job for job, is_new in zip(jobs, are_new, strict=True) if is_new])


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
