"""The queue as a small program: what 2,000 lines of SQL must agree with after every step.

Time is seconds of the movable clock. Every move of the clock is a multiple of 200 and every duration an odd multiple of 100,
so nothing ever falls within 100 s of its moment, and the seconds that a test takes do not matter.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

LIVE = ("ready", "deferred", "lease")
DELAY_S, RETRY_S, TTL_S, TIMEOUT_S, CANCEL_S = 100, 100, 300, 500, 10
RETRY_LIMIT = 1


@dataclass(slots=True)
class ModelJob:
    """One job. `place` is its turn within its priority; `ends_at` its deadline or the time at which it is due."""

    id: UUID
    home: str = "ready"  # ready, deferred, lease, completed, failed, cancelled
    attempt: int = 0
    failures: int = 0
    priority: int = 0
    place: float = 0
    ends_at: float = float("inf")
    since: int = 0  # who began to wait first
    session: int | None = None
    cancel_at: float | None = None
    timeout: bool = False
    key: str | None = None
    noted: list[tuple[int, str]] = field(default_factory=list)  # attempts that did not complete


class Model:
    """All jobs of one queue, and who holds which key."""

    def __init__(self) -> None:
        self.jobs: dict[UUID, ModelJob] = {}
        self.holders: dict[str, UUID] = {}
        self.idempotency: dict[str, UUID] = {}
        self.sessions: dict[int, float] = {}  # session -> when it expires
        self.now = 0.0
        self.paused = False
        self.places = 0

    # -- moves ----------------------------------------------------------------------

    def next_place(self) -> int:
        """The end of the line."""
        self.places += 1
        return self.places

    def enter(self, job: ModelJob, place: float | None = None) -> None:
        """Into the line."""
        job.home, job.session, job.cancel_at, job.ends_at = "ready", None, None, float("inf")
        job.place = self.next_place() if place is None else place

    def wait(self, job: ModelJob, seconds: float) -> None:
        """Out of the line, for a time."""
        job.home, job.session, job.cancel_at, job.ends_at = "deferred", None, None, self.now + seconds
        job.since = self.next_place()

    def finish(self, job: ModelJob, home: str) -> None:
        """An ending for good: its key is free."""
        job.home, job.session, job.cancel_at = home, None, None
        if job.key is not None and self.holders.get(job.key) == job.id:
            del self.holders[job.key]

    def put(self, job: ModelJob, *, delayed: bool = False, replace: bool = False, idempotency_key: str | None = None) -> tuple[UUID, bool]:
        """What enqueue answers."""
        if idempotency_key is not None:
            if idempotency_key in self.idempotency:
                return self.idempotency[idempotency_key], False
            self.idempotency[idempotency_key] = job.id
        if job.key is not None:
            holder = self.jobs.get(self.holders.get(job.key, UUID(int=0)))
            if holder is not None and not replace:
                if idempotency_key is not None:
                    del self.idempotency[idempotency_key]
                return holder.id, False
            if holder is not None and holder.home in ("ready", "deferred"):
                self.finish(holder, "cancelled")
            self.holders[job.key] = job.id
        self.jobs[job.id] = job
        if delayed:
            self.wait(job, DELAY_S)
        else:
            self.enter(job)
        return job.id, True

    def claim(self, session: int, limit: int) -> list[tuple[UUID, int]] | None:
        """Whom a claim takes, in order; None: the session is over."""
        if session not in self.sessions:
            return None
        taken = [] if self.paused else self.line()[:limit]
        for job in taken:
            job.home, job.session, job.attempt = "lease", session, job.attempt + 1
            job.ends_at = self.now + (TIMEOUT_S if job.timeout else 1e9)
        return [(job.id, job.attempt) for job in taken]

    def line(self) -> list[ModelJob]:
        """Those in line, in their order."""
        return sorted((job for job in self.jobs.values() if job.home == "ready"), key=lambda job: (-job.priority, job.place))

    def complete(self, job_id: UUID, attempt: int) -> bool:
        """Whether an ack is accepted."""
        job = self.jobs[job_id]
        if (job.home, job.attempt) == ("lease", attempt):
            self.finish(job, "completed")
        return (job.home, job.attempt) == ("completed", attempt)

    def settle(self, job_id: UUID, attempt: int, ending: str) -> str | None:
        """What becomes of an attempt; None: the report is stale."""
        job = self.jobs[job_id]
        if (job.home, job.attempt) != ("lease", attempt):
            return None
        ending = ending if job.cancel_at is None else "cancelled"
        job.failures += ending in ("failed", "timed_out", "lost", "fatal")
        if ending in ("failed", "fatal", "timed_out", "lost", "cancelled"):
            job.noted.append((attempt, "failed" if ending == "fatal" else ending))
        if ending == "released":
            self.enter(job, job.place)
        elif ending == "snoozed":
            self.wait(job, DELAY_S)
        elif ending == "cancelled":
            self.finish(job, "cancelled")
        elif ending == "fatal" or job.failures > RETRY_LIMIT:
            self.finish(job, "failed")
        elif ending == "lost":
            self.enter(job)
        else:
            self.wait(job, RETRY_S)
        return {"ready": "ready", "deferred": "deferred"}.get(job.home, job.home)

    # -- people -----------------------------------------------------------------------

    def cancel(self, job_id: UUID) -> str:
        """What a cancel answers."""
        job = self.jobs[job_id]
        if job.home in ("ready", "deferred"):
            self.finish(job, "cancelled")
            return "cancelled"
        if job.home == "lease":
            job.cancel_at = self.now if job.cancel_at is None else job.cancel_at
            return "requested"
        return "terminal"

    def retry(self, job_ids: list[UUID]) -> set[UUID]:
        """Who goes back in line, in the order of ids."""
        back = set()
        for job_id in sorted(job_ids):
            job = self.jobs[job_id]
            if job.home not in ("failed", "cancelled") or (job.key is not None and job.key in self.holders):
                continue
            if job.key is not None:
                self.holders[job.key] = job.id
            ending = (job.attempt, job.home)
            if ending not in job.noted or job.attempt == 0:
                job.noted.append(ending)
            job.failures = 0
            self.enter(job)
            back.add(job_id)
        return back

    def reschedule(self, job_id: UUID, seconds: float) -> bool:
        """Whether it had a time to change."""
        job = self.jobs[job_id]
        if job.home not in ("ready", "deferred"):
            return False
        if seconds > 0:
            self.wait(job, seconds)
        elif job.home == "deferred":
            self.wait(job, seconds)
            self.promote()
        return True

    # -- time ----------------------------------------------------------------------------

    def advance(self, seconds: float) -> None:
        """The clock moves, and a process that lives makes its tick: promote, then rescue."""
        self.now += seconds
        self.promote()
        dead = {session for session, expires_at in self.sessions.items() if expires_at <= self.now}
        for session in dead:
            del self.sessions[session]
        leased = sorted((job for job in self.jobs.values() if job.home == "lease"), key=lambda job: job.place)
        for job in leased:
            if job.cancel_at is not None and job.cancel_at <= self.now - CANCEL_S:
                self.settle(job.id, job.attempt, "cancelled")
            elif job.session not in self.sessions:
                self.settle(job.id, job.attempt, "lost")
            elif job.ends_at <= self.now:
                self.settle(job.id, job.attempt, "timed_out")
        together = self.next_place()
        for job in leased:
            if job.home == "deferred":
                job.since = together  # one statement, one moment

    def promote(self) -> None:
        """Those who are due go in line, by time; within one step of the clock, who began to wait first, then by id."""
        due = [job for job in self.jobs.values() if job.home == "deferred" and job.ends_at <= self.now]
        for job in sorted(due, key=lambda job: (job.ends_at, job.since, job.id)):
            self.enter(job)

    def close(self, session: int) -> None:
        """A goodbye: what the session holds is handed back, uncounted."""
        del self.sessions[session]
        for job in [job for job in self.jobs.values() if job.home == "lease" and job.session == session]:
            self.settle(job.id, job.attempt, "released")

    def seen(self) -> dict[UUID, tuple[str, int, int, int]]:
        """Home, attempt, failures and priority of every job: what the database must say."""
        return {job.id: (job.home, job.attempt, job.failures, job.priority if job.home != "completed" else 0) for job in self.jobs.values()}
