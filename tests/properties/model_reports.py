"""What workers report, on the model: completions, other endings, progress, checkpoints. Each report is fenced."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from tests.properties.model import COUNTED, NOBODYS_FAULT, POLICIES, Book, Fence, Job, Note, Report


class Reports(Book):
    """The reporting half of the model."""

    def complete(self, fences: Sequence[Fence]) -> set[UUID]:
        """The jobs of which some report was stale."""
        self.flush += 1
        for fence in fences:
            if job := self.lease(*fence):
                self.end(job, "completed", is_noted=True)
        return {job_id for job_id, attempt in fences if not self._completed_by(job_id, attempt)}

    def _completed_by(self, job_id: UUID, attempt: int) -> bool:
        job = self.jobs.get(job_id)
        return job is not None and (job.home, job.state, job.attempt) == ("outcome", "completed", attempt)

    def settle(self, reports: Sequence[Report]) -> dict[Fence, str]:
        """Where each job went whose report counted or was written before."""
        self.flush += 1
        held: dict[Fence, tuple[Job, Report]] = {}
        for report in reports:
            if job := self.lease(*report.fence):
                held.setdefault(report.fence, (job, report))
        answers: dict[Fence, str] = {}
        failed = []
        for fence, (job, report) in sorted(held.items(), key=lambda item: item[1][0].ord or 0):
            answers[fence] = self._settle_one(job, report)
            if answers[fence] == "failed" and job.dead_letter not in (None, job.queue):
                failed.append(job)
        self.copies += sorted(failed, key=lambda job: job.id)
        for report in reports:
            if report.fence not in answers and self._was_written(report):
                answers[report.fence] = self._stands(report)
        return answers

    def _settle_one(self, job: Job, report: Report) -> str:
        ending = report.ending if job.cancel_at is None else "cancelled"
        job.failures += ending in COUNTED
        if ending in (*COUNTED, "cancelled"):
            job.notes.append(Note(job.attempt, "failed" if ending == "fatal" else ending, report.error))
        if ending == "cancelled" or ending == "fatal" or (ending in COUNTED and job.failures > job.retry_limit):
            state = "cancelled" if ending == "cancelled" else "failed"
            self.end(job, state, is_noted=True)
            return state
        job.progress = None  # it was the attempt's
        if ending == "released":
            job.home = "ready"  # back to its place
            return "ready"
        if ending in NOBODYS_FAULT:
            self.defer(job, self.now + report.delay_s, {"no_handler": "no_handler", "snoozed": "scheduled"}.get(ending, "retrying"))
            return "deferred"
        if ending == "lost":
            self.arrive(job)
            return "ready"
        policy = POLICIES[job.kind]
        self.defer(job, self.now + int(min(policy.retry_delay_s * 2 ** (job.failures - 1), policy.retry_max_delay_s)), "retrying")
        return "deferred"

    def _was_written(self, report: Report) -> bool:
        """Whether the book shows this very report: its note, or a job that waits since then without one."""
        job = self.jobs.get(report.job_id)
        if job is None:
            return False
        notes = [note for note in job.notes if note.attempt == report.attempt]
        if notes:
            meant = "failed" if report.ending == "fatal" else report.ending
            return any(note.ending in ("cancelled", meant) and note.error == report.error for note in notes)
        is_latest = job.attempt == report.attempt
        return is_latest and (
            (report.ending == "released" and job.home == "ready") or (report.ending in NOBODYS_FAULT and job.home in ("ready", "deferred"))
        )

    def _stands(self, report: Report) -> str:
        job = self.jobs[report.job_id]
        if job.attempt != report.attempt:
            return "deferred"
        return {"outcome": job.state, "ready": "ready"}.get(job.home, "deferred")

    def save_progress(self, fences: Sequence[Fence], progress: str) -> set[UUID]:
        """The jobs whose lease held."""
        held = [job for fence in fences if (job := self.lease(*fence))]
        for job in held:
            job.progress = progress
        return {job.id for job in held}

    def save_checkpoint(self, fence: Fence, value: str) -> bool:
        """Whether the lease held."""
        if self.lease(*fence) is None:
            return False
        self.checkpoints[fence[0]] = value
        return True
