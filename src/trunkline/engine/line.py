"""One queue of one tenant as a claimer sees it: where to start the next scan of the claim index.

Dead index entries pile up in front of a busy queue and cannot be vacuumed while any old snapshot lives, so a claim starts
behind a mark. Two marks per priority, both hints for speed:

- `reached`: how far claims have come. The usual start.
- `covered`: everything at or before it was seen after it was certain to be visible. A job whose transaction began early may
  commit a smaller place late; a scan from here finds it. Once a second, and whenever the heartbeat says there is work.

`ord` values are places in line (sql/functions/00_clock.sql): microseconds times 4096.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from trunkline.model import Claimed

# Commits usually follow their place in line within this time; what takes longer waits for the scan from `covered`.
DISORDER_ORD = 25_000 * 4096  # 25 ms: an fsync takes 1 to 5 ms here


FREQUENT = 40  # looks in a second: past this, being woken for each costs more than looking


@dataclass(slots=True)
class Line:
    """Marks of one queue; `restart` forgets them."""

    tenant_id: int
    queue_id: int
    queue: str
    has_work: bool = True  # something said so: a signal, the heartbeat, a full claim; a claim that comes back short clears it
    covered: dict[int, int] = field(default_factory=dict)
    covered_floor: int = 0
    reached: dict[int, int] = field(default_factory=dict)
    reached_floor: int = 0
    covered_due_at: float = 0.0  # monotonic seconds
    turn: int = 0  # number of its last claim among all of this process
    busy_until: float = float("-inf")  # monotonic; jobs came lately, so it is looked at without being told
    _is_glance: bool = False  # it has work only because somebody wants to look
    _is_told: bool = False  # of work, since a claim is under way: its answer may know nothing of it
    _rewound: int | None = None  # a place that came back while a claim is under way: its answer must not move the marks past it
    _looks: int = 0
    _looks_since: float = 0.0

    def restart(self) -> None:
        """Scan from the very front next time: at start, after a reconnect, when the database's clock went back, and once a minute."""
        self._rewound = 0
        self.covered.clear()
        self.covered_floor = 0
        self.covered_due_at = 0.0
        self.has_work, self._is_glance = True, False

    def told(self) -> None:
        """Somebody says that there is work."""
        self.has_work, self._is_told, self._is_glance = True, True, False

    def glance(self, *, wanted: bool) -> None:
        """Look whether there is work, which nobody says; or do not, if that was all."""
        if wanted and not self.has_work:
            self.has_work = self._is_glance = True
        elif not wanted and self._is_glance:
            self.has_work = self._is_glance = False

    def rewind(self, ord: int) -> None:
        """A job came back to place `ord`, behind the marks."""
        self._rewound = ord if self._rewound is None else min(self._rewound, ord)
        before = ord - 1
        self.covered_floor = min(self.covered_floor, before)
        self.reached_floor = min(self.reached_floor, before)
        for marks in (self.covered, self.reached):
            for priority, mark in marks.items():
                marks[priority] = min(mark, before)
        self.has_work, self._is_glance = True, False

    def is_frequent(self, now: float) -> bool:
        """Count a look at monotonic time `now`; whether there were more than FREQUENT within a second."""
        if now - self._looks_since > 1.0:
            self._looks, self._looks_since = 0, now
        self._looks += 1
        return self._looks > FREQUENT

    def start(self, now: float) -> tuple[bool, int, dict[int, int]]:
        """(whether this is a covering scan, floor, marks) of a claim at monotonic time `now`."""
        self._rewound, self._is_told, self._is_glance = None, False, False
        if now >= self.covered_due_at:
            return True, self.covered_floor, dict(self.covered)
        return False, self.reached_floor, dict(self.reached)

    def claimed(self, jobs: Sequence[Claimed], *, limit: int, covering: bool, safe: int, began_ord: int, now: float, took_s: float) -> None:
        """Move the marks after a claim that began at place `began_ord`, when places up to `safe` were certain to be visible.

        A covering scan that was slow (it waded through what an old snapshot pins) comes again the later, so that it never
        takes more than a twentieth of the time.
        """
        self._move(jobs, limit=limit, covering=covering, safe=safe, began_ord=began_ord, now=now, took_s=took_s)
        if self._rewound is not None:
            self.rewind(self._rewound)

    def _move(self, jobs: Sequence[Claimed], *, limit: int, covering: bool, safe: int, began_ord: int, now: float, took_s: float) -> None:
        if len(jobs) < limit:
            self.has_work = self._is_told
            self.reached.clear()
            self.reached_floor = max(began_ord - DISORDER_ORD, 0)
            if covering:
                self.covered.clear()
                self.covered_floor = safe
                self.covered_due_at = now + max(1.0, 20.0 * took_s)
            return
        lowest = jobs[-1].priority  # they come highest priority first
        last = {lowest: jobs[-1].ord} if jobs[0].priority == lowest else {job.priority: job.ord for job in jobs}
        for priority, ord in last.items():
            self.reached[priority] = max(ord, self.reached.get(priority, 0))
            if covering:
                self.covered[priority] = safe if priority > lowest else min(safe, ord)
        # A backlog drains in place order, so the next covering scan can wait while scans come back full.
        if covering:
            self.covered_due_at = now + max(1.0, 20.0 * took_s)
