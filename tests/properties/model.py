"""The queue in plain Python: what each call must answer and where each job must stand afterwards.

Always true: it reads nothing from the database but each job's place in line (`ord`), which is random there and checked to be in
the order that `arrivals` says. Time is whole seconds since the example began and stands still between moves of the clock.
Called by: the machine, which makes each call on both sides and compares. The verbs are in model_verbs and model_reports.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

from trunkline.model import Policy

QUEUES = ("alpha", "graves")
GRAVES = "graves"
# The second kind gives up at once and leaves a copy.
POLICIES = {
    "patient": Policy(retry_limit=1, retry_delay_s=100, retry_max_delay_s=300, timeout_s=2000),
    "hasty": Policy(retry_limit=0, retry_delay_s=200, retry_max_delay_s=300, timeout_s=600, dead_letter=GRAVES),
}
TTL_S = 300
NOBODYS_FAULT = ("snoozed", "retry_after", "no_handler")
COUNTED = ("failed", "timed_out", "lost", "fatal")
STATES = {"completed": 1, "failed": 2, "cancelled": 3}

Fence = tuple[UUID, int]


class Report(NamedTuple):
    """One element of a flush of endings."""

    job_id: UUID
    attempt: int
    ending: str
    error: str | None
    delay_s: int

    @property
    def fence(self) -> Fence:
        return self.job_id, self.attempt


class Note(NamedTuple):
    """A row of `attempt`."""

    attempt: int
    ending: str
    error: str | None


@dataclass
class Job:
    """One job and where it stands. `home` is its table; the fields below it belong to that home."""

    id: UUID
    kind: str
    queue: str
    priority: int
    options: dict[str, object]
    home: str = ""
    attempt: int = 0
    failures: int = 0
    notes: list[Note] = field(default_factory=list)
    ord: int | None = None  # ready and lease; None: just arrived, its place is read next
    due: tuple[int, int] = (0, 0)  # deferred: when, and which flush put it there
    reason: str = ""
    session: int = 0  # lease, from here on
    deadline: int = 0
    cancel_at: int | None = None
    progress: str | None = None
    state: str = ""  # outcome, from here on
    is_noted: bool = False  # whether the outcome's attempt has its note
    ended: int = 0  # which flush ended it

    @property
    def unique_key(self) -> str | None:
        """Its key where it holds it for its life, not for a time slot."""
        return None if "unique_for" in self.options else self.options.get("unique_key")  # type: ignore[return-value]

    @property
    def retry_limit(self) -> int:
        return int(self.options.get("retry_limit", POLICIES[self.kind].retry_limit))  # type: ignore[call-overload]

    @property
    def timeout_s(self) -> int:
        return int(self.options.get("timeout", POLICIES[self.kind].timeout_s))  # type: ignore[call-overload]

    @property
    def dead_letter(self) -> str | None:
        return self.options.get("dead_letter", POLICIES[self.kind].dead_letter)  # type: ignore[return-value]

    @property
    def is_live(self) -> bool:
        return self.home != "outcome"


@dataclass
class Session:
    """One process."""

    id: int
    expires_at: int
    is_dead: bool = False


class Book:
    """The state of one tenant, and the moves that every verb is made of."""

    def __init__(self, origin: int) -> None:
        self.origin = origin  # the database's time at second 0, in Unix seconds
        self.now = 0
        self.flush = 0
        self.jobs: dict[UUID, Job] = {}
        self.sessions: dict[int, Session] = {}
        self.paused: set[str] = set()
        self.idempotency: dict[tuple[str, str], tuple[UUID, int | None]] = {}  # (kind, key) -> holder, until when
        self.unique: dict[tuple[str, str], tuple[UUID, int | None]] = {}  # (queue, key) -> holder, until when
        self.checkpoints: dict[UUID, str] = {}
        self.arrivals: list[Job] = []  # jobs that just entered the line, in the order they must stand in
        self.copies: list[Job] = []  # jobs whose dead-letter copy must be found, in that order
        self.claimed: set[Fence] = set()

    def of(self, home: str, queue: str | None = None) -> list[Job]:
        """The jobs that stand there."""
        return [job for job in self.jobs.values() if job.home == home and queue in (None, job.queue)]

    def known(self, job_ids: Iterable[UUID]) -> list[Job]:
        """Those jobs of ours, each once."""
        return [self.jobs[job_id] for job_id in dict.fromkeys(job_ids) if job_id in self.jobs]

    def lease(self, job_id: UUID, attempt: int) -> Job | None:
        """The job if this attempt holds it."""
        job = self.jobs.get(job_id)
        return job if job is not None and (job.home, job.attempt) == ("lease", attempt) else None

    # -- moves ------------------------------------------------------------------------

    def arrive(self, job: Job) -> None:
        """To the end of the line."""
        job.home, job.ord = "ready", None
        self.arrivals.append(job)

    def defer(self, job: Job, due: int, reason: str, *, exact: bool = False) -> None:
        """Wait until `due`; `exact`: a moment somebody named, which is before those counted from the running second."""
        job.home, job.due, job.reason = "deferred", (due, -1 if exact else self.flush), reason

    def end(self, job: Job, state: str, *, is_noted: bool) -> None:
        """Final; its key is free."""
        job.home, job.state, job.is_noted, job.ended = "outcome", state, is_noted, self.flush
        self.unique = {key: held for key, held in self.unique.items() if held[0] != job.id or held[1] is not None}

    def due(self) -> list[Job]:
        """Deferred jobs whose time has come, in the order they enter the line."""
        return sorted((job for job in self.of("deferred") if job.due[0] <= self.now), key=lambda job: (job.due, job.id))
