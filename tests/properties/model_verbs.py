"""What producers, people and duties do, on the model: enqueue, claim, cancel, retry, reschedule, pause, tick."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from tests.properties.model import GRAVES, TTL_S, Book, Job, Note, Report, Session
from tests.properties.model_reports import Reports

OF_A_PERSON = '{"type" : "cancelled"}'  # stands for the words of a cancel: no worker reports them


class Spec(NamedTuple):
    """One element of a flush that is put in; `delay` counts from now, `run_at` from the example's start."""

    id: UUID
    kind: str
    queue: str
    priority: int = 0
    delay: int | None = None
    run_at: int | None = None
    idempotency_key: str | None = None
    idempotency_window: int | None = None
    unique_key: str | None = None
    unique_for: int | None = None
    unique_replace: bool | None = None
    retry_limit: int | None = None
    timeout: int | None = None
    dead_letter: str | None = None

    @property
    def options(self) -> dict[str, object]:
        """What the job keeps of it."""
        kept = ("unique_key", "unique_for", "retry_limit", "timeout", "dead_letter")
        return {name: getattr(self, name) for name in kept if getattr(self, name) is not None}


class Model(Reports, Book):
    """The whole tenant."""

    # -- in -----------------------------------------------------------------------------

    def put_plain(self, specs: Sequence[Spec]) -> None:
        """Plain jobs; an id that is there is a repeat."""
        self.flush += 1
        for spec in specs:
            if spec.id not in self.jobs:
                self._make(spec)

    def put(self, specs: Sequence[Spec]) -> list[tuple[UUID, bool]]:
        """Any jobs; (who stands for it, whether it is new) of each."""
        self.flush += 1
        there = {spec.id for spec in specs if spec.id in self.jobs}
        firsts = self._take_idempotency([spec for spec in specs if spec.id not in there])
        first_of = [firsts.get((spec.kind, spec.idempotency_key), spec.id) if spec.id not in there else spec.id for spec in specs]
        asking = [
            spec for spec, first in zip(specs, first_of, strict=True) if first == spec.id and spec.id not in there and spec.unique_key
        ]
        self._take_unique(asking, {spec.id for spec in specs})
        holder_of = {spec.id: self.unique[self._slot(spec)][0] for spec in asking}
        lost = {job_id for job_id, holder in holder_of.items() if job_id != holder}
        self.idempotency = {key: held for key, held in self.idempotency.items() if held[0] not in lost}
        for spec, first in zip(specs, first_of, strict=True):
            if first == spec.id and spec.id not in lost and spec.id not in self.jobs:
                self._make(spec)
        return [
            (holder_of.get(first, first), first == spec.id and spec.id not in lost) for spec, first in zip(specs, first_of, strict=True)
        ]

    def _make(self, spec: Spec) -> None:
        job = self.jobs[spec.id] = Job(spec.id, spec.kind, spec.queue, spec.priority, spec.options)
        if spec.run_at is not None and spec.run_at > self.now:
            self.defer(job, spec.run_at, "scheduled", exact=True)
        elif spec.delay:
            self.defer(job, self.now + spec.delay, "scheduled")
        else:
            self.arrive(job)

    def _take_idempotency(self, specs: Sequence[Spec]) -> dict[tuple[str, str | None], UUID]:
        for spec in specs:
            if spec.idempotency_key is None:
                continue
            key = spec.kind, spec.idempotency_key
            _, until = self.idempotency.get(key, (None, self.now))
            if until is not None and until <= self.now:
                self.idempotency[key] = spec.id, None if spec.idempotency_window is None else self.now + spec.idempotency_window
        return {
            (spec.kind, spec.idempotency_key): self.idempotency[spec.kind, spec.idempotency_key][0]
            for spec in specs
            if spec.idempotency_key
        }

    def _take_unique(self, specs: Sequence[Spec], flush: set[UUID]) -> None:
        replaced = {self.unique[slot][0] for spec in specs if spec.unique_replace and (slot := self._slot(spec)) in self.unique}
        replaced -= flush  # what came in with this very flush is sent again: it is not replaced by its own
        for job in self.known(replaced):
            if job.home in ("ready", "deferred"):
                self.end(job, "cancelled", is_noted=False)
        over = {self._slot(spec) for spec in specs if spec.unique_for}
        self.unique = {
            slot: held
            for slot, held in self.unique.items()
            if held[0] not in replaced and not (slot in over and held[1] is not None and held[1] <= self.now)
        }
        wishes = [spec for spec in reversed(specs) if spec.unique_replace] + [spec for spec in specs if not spec.unique_replace]
        for spec in wishes:
            slot_s = spec.unique_for
            until = None if slot_s is None else ((self.origin + self.now) // slot_s + 1) * slot_s - self.origin
            self.unique.setdefault(self._slot(spec), (spec.id, until))

    def _slot(self, spec: Spec) -> tuple[str, str]:
        if spec.unique_for is None:
            return spec.queue, str(spec.unique_key)
        return spec.queue, f"{spec.unique_key}@{(self.origin + self.now) // spec.unique_for * spec.unique_for}"

    # -- out ------------------------------------------------------------------------------

    def next_in_line(self, queue: str, limit: int, floor: int, marks: dict[int, int]) -> list[Job]:
        """Whom a claim must take."""
        line = [job for job in self.of("ready", queue) if job.ord is not None and job.ord > marks.get(job.priority, floor)]
        return [] if queue in self.paused else sorted(line, key=lambda job: (-job.priority, job.ord))[:limit]

    def claim(self, session_id: int, taken: Sequence[Job]) -> None:
        """Lease them."""
        for job in taken:
            job.attempt += 1
            assert (job.id, job.attempt) not in self.claimed, "the model itself repeats an attempt"
            self.claimed.add((job.id, job.attempt))
            job.home, job.session, job.deadline = "lease", session_id, self.now + job.timeout_s
            job.cancel_at = job.progress = None

    # -- people -----------------------------------------------------------------------------

    def cancel(self, job_ids: Sequence[UUID]) -> dict[UUID, str]:
        """The answer for each known job."""
        self.flush += 1
        answers: dict[UUID, str] = {}
        for job in self.known(job_ids):
            if job.home == "lease":
                job.cancel_at = self.now if job.cancel_at is None else job.cancel_at
                answers[job.id] = "requested"
            elif job.home == "outcome":
                answers[job.id] = "terminal"
            else:
                self.end(job, "cancelled", is_noted=False)
                answers[job.id] = "cancelled"
        return answers

    def retry(self, job_ids: Sequence[UUID]) -> set[UUID]:
        """Those that went back, in the order of their ids."""
        self.flush += 1
        back = []
        for job in sorted((j for j in self.known(job_ids) if j.home == "outcome" and j.state != "completed"), key=lambda j: j.id):
            if job.unique_key is not None:
                if (job.queue, job.unique_key) in self.unique:
                    continue
                self.unique[job.queue, job.unique_key] = job.id, None
            back.append(job)
        for job in back:
            if not job.is_noted:
                job.notes.append(Note(job.attempt, job.state, OF_A_PERSON))
            job.failures = 0
            self.arrive(job)
        return {job.id for job in back}

    def redrive(self, queue: str | None, kind: str | None) -> int:
        """All failed jobs that fit; how many went back."""
        failed = (
            [j for j in self.of("outcome", queue) if j.state == "failed"]
            if queue
            else [j for j in self.of("outcome") if j.state == "failed"]
        )
        return len(self.retry([job.id for job in failed if kind in (None, job.kind)]))

    def reprioritize(self, job_ids: Sequence[UUID], priority: int) -> int:
        """How many had not started."""
        waiting = [job for job in self.known(job_ids) if job.home in ("ready", "deferred")]
        for job in waiting:
            job.priority = priority
        return len(waiting)

    def reschedule(self, job_id: UUID, due: int) -> bool:
        """Whether it had not started."""
        self.flush += 1
        job = self.jobs.get(job_id)
        if job is not None and job.home == "ready" and due > self.now:
            self.defer(job, due, "scheduled", exact=True)
            return True
        is_waiting = job is not None and job.home in ("ready", "deferred")
        if job is not None and job.home == "deferred":
            job.due = (due, -1)
        if due <= self.now:
            self.promote()
        return is_waiting

    def pause(self, queue: str, paused: bool) -> bool:
        """Whether it was in the other state."""
        was = queue in self.paused
        (self.paused.add if paused else self.paused.discard)(queue)
        return was != paused

    # -- duties -------------------------------------------------------------------------------

    def promote(self) -> int:
        """How many came into line."""
        self.flush += 1
        due = self.due()
        for job in due:
            self.arrive(job)
        return len(due)

    def tick(self, session: Session) -> bool:
        """Whether the session lives."""
        if not session.is_dead and session.expires_at - self.now <= TTL_S * 0.67:
            session.expires_at = self.now + TTL_S
        self.promote()
        self.rescue(session.id)
        return not session.is_dead

    def rescue(self, session_id: int) -> int:
        """How many leases were taken away."""
        for session in self.sessions.values():
            session.is_dead |= session.expires_at <= self.now and session.id != session_id
        lost = []
        for job in self.of("lease"):
            if job.cancel_at is not None and job.cancel_at <= self.now - 10:
                lost.append(Report(job.id, job.attempt, "cancelled", OF_A_PERSON, 0))
            elif self.sessions[job.session].is_dead:
                lost.append(Report(job.id, job.attempt, "lost", OF_A_PERSON, 0))
            elif job.deadline <= self.now:
                lost.append(Report(job.id, job.attempt, "timed_out", OF_A_PERSON, 0))
        self.settle(lost)
        return len(lost)

    def close(self, session: Session) -> None:
        """Goodbye; what it held is handed back."""
        session.is_dead = True
        self.settle([Report(job.id, job.attempt, "released", None, 0) for job in self.of("lease") if job.session == session.id])

    def adopt(self, copy_id: UUID, source_id: UUID) -> None:
        """A dead-letter copy was found; it must be one that is due."""
        source = next(job for job in self.copies if job.id == source_id)
        self.copies.remove(source)
        copy = self.jobs[copy_id] = Job(copy_id, source.kind, GRAVES, 0, {})
        self.arrive(copy)
