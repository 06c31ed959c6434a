"""An append-only journal outside PostgreSQL, and the checker that holds the database to it.

Everybody who takes part in a fault test writes what it did and what it was told, one JSON line a fact, into one file:
senders before and after they send, handlers when they start and end, workers when a report was answered, waiters when they
were told an ending. The lines of all processes have one order: that of the file. After the faults `Verdict.of` reads the
database and compares. The journal survives kill -9 of whoever wrote it, because a line is one write to an O_APPEND file.

Facts (`job` is an id, `attempt` a claim's number):
  sent job · accepted job created · unanswered job          a sender; `accepted` names the job that stands for the sent one
  started job attempt · effect job attempt · done job attempt ending      a handler
  acked job attempt what                                    a worker whose report was answered: completed, failed, ready, ... or lost
  cancelled job answer · retried job                        a person
  seen job state                                            a waiter that was told the ending
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg

from tests.support.until import WITHIN_S, until

STATES = {1: "completed", 2: "failed", 3: "cancelled"}
_JOBS = """
select j.id, j.options, k.name as kind,
       (r.job_id is not null)::int + (d.job_id is not null)::int + (l.job_id is not null)::int + (o.job_id is not null)::int as homes,
       case when o.job_id is not null then 'outcome' when l.job_id is not null then 'lease'
            when r.job_id is not null then 'ready' when d.job_id is not null then 'deferred' end as home,
       o.state, coalesce(o.attempt, l.attempt, r.attempt, d.attempt) as attempt, o.detail -> 'error' ->> 'type' as error_type,
       coalesce((select max(a.attempt) from trunkline.attempt as a where a.tenant_id = j.tenant_id and a.job_id = j.id), 0) as noted
  from trunkline.job as j
  join trunkline.kind as k on (k.tenant_id, k.kind_id) = (j.tenant_id, j.kind_id)
  left join trunkline.ready as r on (r.tenant_id, r.job_id) = (j.tenant_id, j.id)
  left join trunkline.deferred as d on (d.tenant_id, d.job_id) = (j.tenant_id, j.id)
  left join trunkline.lease as l on (l.tenant_id, l.job_id) = (j.tenant_id, j.id)
  left join trunkline.outcome as o on (o.tenant_id, o.job_id) = (j.tenant_id, j.id)"""
_STRAYS = """
select 'a row of ' || t.name || ' without a job' as what, t.job_id
  from (select 'ready' as name, tenant_id, job_id from trunkline.ready union all select 'deferred', tenant_id, job_id from trunkline.deferred
        union all select 'lease', tenant_id, job_id from trunkline.lease union all select 'outcome', tenant_id, job_id from trunkline.outcome) as t
 where not exists (select from trunkline.job as j where (j.tenant_id, j.id) = (t.tenant_id, t.job_id))
union all
select 'a unique key that an ended job holds for ever', u.job_id from trunkline.unique_key as u
 where u.expires_at is null and not exists (select from trunkline.ready as r where (r.tenant_id, r.job_id) = (u.tenant_id, u.job_id))
   and not exists (select from trunkline.deferred as d where (d.tenant_id, d.job_id) = (u.tenant_id, u.job_id))
   and not exists (select from trunkline.lease as l where (l.tenant_id, l.job_id) = (u.tenant_id, u.job_id))
union all
select 'an idempotency key of a job that is not there', i.job_id from trunkline.idempotency as i
 where not exists (select from trunkline.job as j where (j.tenant_id, j.id) = (i.tenant_id, i.job_id))"""


@dataclass(frozen=True, slots=True)
class Fact:
    """One line."""

    fact: str
    who: str
    at: float  # seconds of CLOCK_MONOTONIC, which all processes of a machine share
    job: UUID | None
    attempt: int
    more: dict[str, Any]


class Journal:
    """The file, as one process sees it; any number of processes may open the same path."""

    def __init__(self, path: str | Path, who: str = "test") -> None:
        self.path = Path(path)
        self.who = who
        self._fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._facts: list[Fact] = []
        self._read_to = 0

    def note(self, fact: str, job: UUID | str | None = None, attempt: int = 0, **more: Any) -> None:
        """Append one fact; it is in the file when this returns, whatever happens to this process."""
        line = {"fact": fact, "who": self.who, "at": time.monotonic(), "job": None if job is None else str(job), "attempt": attempt, **more}
        os.write(self._fd, json.dumps(line).encode() + b"\n")

    def facts(self) -> list[Fact]:
        """Everything in the file so far, in its order."""
        with self.path.open("rb") as file:
            file.seek(self._read_to)
            fresh = file.read()
        whole = fresh[: fresh.rfind(b"\n") + 1]
        self._read_to += len(whole)
        for line in whole.splitlines():
            values = json.loads(line)
            job = values.pop("job")
            self._facts.append(
                Fact(values.pop("fact"), values.pop("who"), values.pop("at"), UUID(job) if job else None, values.pop("attempt"), values)
            )
        return self._facts

    def of(self, fact: str, **like: Any) -> list[Fact]:
        """The facts of one name, those that agree with `like` (a field, or one of `more`)."""
        return [f for f in self.facts() if f.fact == fact and all(getattr(f, k, f.more.get(k)) == v for k, v in like.items())]

    async def wait_for(self, fact: str, count: int = 1, *, within_s: float = WITHIN_S, **like: Any) -> list[Fact]:
        """Wait until there are `count` such facts; all of them."""
        what = f"{count} facts {fact!r}" + (f" with {like}" if like else "")
        found: list[Fact] = await until(lambda: len(f := self.of(fact, **like)) >= count and f, what, within_s=within_s)
        return found

    def close(self) -> None:
        """Let the file go."""
        os.close(self._fd)


@dataclass(frozen=True, slots=True)
class _Job:
    """A job as the database has it."""

    id: UUID
    kind: str
    homes: int
    home: str | None
    state: str | None
    attempt: int
    error_type: str | None
    noted: int
    is_copy: bool


@dataclass
class Verdict:
    """What the database says beside what the journal says; `wrong` is empty when all promises held."""

    jobs: dict[UUID, _Job]
    facts: list[Fact]
    strays: list[tuple[str, UUID]]
    wrong: list[str] = field(default_factory=list)

    @classmethod
    async def of(cls, journal: Journal, database_url: str, *, drained: bool = True, pauses: int = 0) -> Verdict:
        """Read the database and compare.

        Args:
            drained: whether every job must have ended; else live ones are fine.
            pauses: how often a process was stopped in the middle of anything; each may start one attempt late, because
                nobody can look at a clock and act in the same instant.
        Raises:
            AssertionError: a promise was broken; names each, with the jobs concerned.
        """
        conn = await asyncpg.connect(database_url)
        try:
            async with conn.transaction(isolation="repeatable_read", readonly=True):
                rows = await conn.fetch(_JOBS)
                strays = [(row[0], row[1]) for row in await conn.fetch(_STRAYS)]
        finally:
            await conn.close()
        jobs = {row["id"]: _job(row) for row in rows}
        verdict = cls(jobs, list(journal.facts()), strays)
        verdict._judge(drained, pauses)
        assert not verdict.wrong, f"{len(verdict.wrong)} broken promises:\n" + "\n".join(verdict.wrong[:40])
        return verdict

    def count(self, state: str) -> int:
        """Jobs that ended in `state`."""
        return sum(job.state == state for job in self.jobs.values())

    def attempts(self) -> Counter[UUID]:
        """How often each job was started."""
        return Counter(f.job for f in self.facts if f.fact == "started" and f.job is not None)

    def _judge(self, drained: bool, pauses: int) -> None:
        self.wrong += [f"{what}: {job_id}" for what, job_id in self.strays]
        self._judge_places(drained)
        self._judge_acceptance()
        self._judge_attempts(pauses)
        self._judge_acks()
        self._judge_people_and_waiters()

    def _judge_places(self, drained: bool) -> None:
        """Invariants 1 and 7: one home for every job; a completion belongs to an attempt that ran to its end."""
        done = {(f.job, f.attempt) for f in self._all("done") if f.more["ending"] == "completed"}
        for job in self.jobs.values():
            if job.homes != 1:
                self.wrong.append(f"job {job.id} is in {job.homes} of ready, deferred, lease, outcome")
            elif drained and job.home != "outcome":
                self.wrong.append(f"job {job.id} ({job.kind}) has not ended: it is in {job.home}, attempt {job.attempt}")
            if job.state == "completed" and (job.id, job.attempt) not in done:
                self.wrong.append(f"job {job.id} is completed by attempt {job.attempt}, which never ran to its end")
            if job.noted > job.attempt:
                self.wrong.append(f"job {job.id} is at attempt {job.attempt} after attempt {job.noted} was noted")

    def _judge_acceptance(self) -> None:
        """Promise 1, and its reverse: what was accepted is there; what is there was sent."""
        sent = {f.job for f in self._all("sent")}
        accepted = {f.job for f in self._all("accepted")}
        self.wrong += [f"job {job_id} was accepted and is not there" for job_id in accepted - self.jobs.keys()]
        self.wrong += [f"job {job.id} is there and nobody sent it" for job in self.jobs.values() if job.id not in sent and not job.is_copy]
        created = Counter(f.job for f in self._all("accepted") if f.more["created"])
        self.wrong += [f"job {job_id} was created {count} times" for job_id, count in created.items() if count > 1]

    def _judge_attempts(self, pauses: int) -> None:
        """Invariant 2: an attempt starts once, and never after a later one of the same job."""
        last: dict[UUID, Fact] = {}
        late: list[str] = []
        for fact in self._all("started"):
            assert fact.job is not None
            before = last.get(fact.job)
            if before is not None and before.attempt >= fact.attempt:
                late.append(f"job {fact.job}: attempt {fact.attempt} started at {fact.who} after {before.attempt} at {before.who}")
            last[fact.job] = fact
            if fact.job in self.jobs and fact.attempt > self.jobs[fact.job].attempt:
                self.wrong.append(f"job {fact.job} started attempt {fact.attempt}; the database knows {self.jobs[fact.job].attempt}")
        if len(late) > pauses:
            self.wrong += late

    def _judge_acks(self) -> None:
        """Promise 6: an acknowledged report is durable, a refused one changed nothing."""
        retried = {f.job for f in self._all("retried")}
        winners: dict[UUID, set[int]] = defaultdict(set)
        for fact in self._all("acked"):
            assert fact.job is not None
            what, job = fact.more["what"], self.jobs.get(fact.job)
            if job is None:
                self.wrong.append(f"job {fact.job}: a report was answered and the job is not there")
            elif what in ("completed", "failed", "cancelled"):
                winners[fact.job].add(fact.attempt)
                if (job.state, job.attempt) != (what, fact.attempt) and not (fact.job in retried and what != "completed"):
                    self.wrong.append(
                        f"job {fact.job}: attempt {fact.attempt} was told {what}; it is {job.state or job.home}, attempt {job.attempt}"
                    )
            elif (
                what == "lost"
                and job.state in ("completed", "failed")
                and job.attempt == fact.attempt
                and job.error_type not in ("lost", "timed_out")
            ):
                self.wrong.append(
                    f"job {fact.job}: attempt {fact.attempt} was told that its lease is lost, and it is what ended the job {job.state}"
                )
        self.wrong += [
            f"job {job_id} was won by attempts {sorted(w)}" for job_id, w in winners.items() if len(w) > 1 and job_id not in retried
        ]

    def _judge_people_and_waiters(self) -> None:
        retried = {f.job for f in self._all("retried")}
        for fact in self._all("seen"):
            assert fact.job is not None
            if fact.job not in retried and fact.job in self.jobs and fact.more["state"] != self.jobs[fact.job].state:
                self.wrong.append(f"job {fact.job}: a waiter was told {fact.more['state']}; it is {self.jobs[fact.job].state}")
        for fact in self._all("cancelled"):
            assert fact.job is not None
            if fact.more["answer"] == "cancelled" and fact.job not in retried and self.jobs[fact.job].state != "cancelled":
                self.wrong.append(f"job {fact.job} was answered cancelled; it is {self.jobs[fact.job].state or self.jobs[fact.job].home}")

    def _all(self, fact: str) -> Iterator[Fact]:
        return (f for f in self.facts if f.fact == fact)


def _job(row: asyncpg.Record) -> _Job:
    options = json.loads(row["options"]) if row["options"] else {}
    return _Job(
        row["id"],
        row["kind"],
        row["homes"],
        row["home"],
        STATES.get(row["state"]),
        row["attempt"] or 0,
        row["error_type"],
        row["noted"],
        "dead_letter_of" in options,
    )
