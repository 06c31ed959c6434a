"""Random calls of several processes, each made on the database and on the model; after every step the two must agree.

Always true: a rule makes one call (or two that overlap), compares its answer, and leaves the comparison of all rows to the
invariants.
Called by: test_machine.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.properties import strategies as some
from tests.properties.model import QUEUES, TTL_S, Fence, Job, Report, Session
from tests.properties.model_verbs import Model, Spec
from tests.properties.world import DUTY_IS_DUE, World
from trunkline.errors import SessionLost
from trunkline.model import NewJob, new_job
from trunkline.store import copy, enqueue, operate, sessions, work

DRIFT_S = 60  # an example takes less; every time in it is a multiple of 50 s at least


class Machine(RuleBasedStateMachine):
    """One tenant, three processes."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world, self.run = world, world.run
        self.tenant_id, self.queue_ids, origin = world.fresh()
        self.queues = {queue_id: name for name, queue_id in self.queue_ids.items()}
        self.model = Model(origin)
        self.workers = [self._open(n) for n in range(len(world.stores))]
        self.said: list[Report] = []
        self.highest = 0
        self.seen: dict[int, int] = {}  # priority -> highest place claimed, as a claimer's marks

    def _open(self, n: int) -> Session:
        session_id = self.run(sessions.open_session(self.world.stores[n], "worker", TTL_S))
        self.model.sessions[session_id] = Session(session_id, self.model.now + TTL_S)
        return self.model.sessions[session_id]

    # -- what may be named -------------------------------------------------------------------

    def _job_ids(self, data: st.DataObject, most: int = 3) -> list[UUID]:
        known = [*self.model.jobs, self.world.frozen.job_ids[1], some.NOBODY]
        return data.draw(st.lists(st.sampled_from(known), min_size=1, max_size=most), label="jobs")

    def _fences(self, data: st.DataObject, most: int = 3) -> list[Fence]:
        """Mostly attempts that hold; else those of before, those to come and those of strangers."""
        held = [(job.id, job.attempt) for job in self.model.of("lease")]
        stale = [*sorted(self.model.claimed), *[(job_id, n + 1) for job_id, n in held], (self.world.frozen.job_ids[1], 1), (some.NOBODY, 1)]
        picked = st.one_of(st.sampled_from(held), st.sampled_from(held), st.sampled_from(stale)) if held else st.sampled_from(stale)
        return data.draw(st.lists(picked, min_size=1, max_size=most), label="fences")

    def _store(self, session: Session) -> Any:
        return self.world.stores[self.workers.index(session)]

    def _worker(self, data: st.DataObject) -> Session:
        return self.workers[data.draw(st.integers(0, len(self.workers) - 1), label="worker")]

    # -- in ----------------------------------------------------------------------------------------

    @rule(specs=st.lists(some.plain, min_size=1, max_size=4), door=st.sampled_from(("plain", "one", "copy")), data=st.data())
    def put_plain_jobs(self, specs: list[Spec], door: str, data: st.DataObject) -> None:
        """By each of the three doors; now and then one is sent again."""
        if door != "copy" and self.model.jobs and data.draw(st.integers(0, 4), label="again") == 0:
            specs[0] = specs[0]._replace(id=data.draw(st.sampled_from(sorted(self.model.jobs)), label="id"))
        for flush in [specs] if door != "one" else [[spec] for spec in specs]:
            jobs = [_job(spec, self.model.origin) for spec in flush]
            call: Any = {"plain": enqueue.plain, "copy": copy.copy}.get(door)
            self.run(call(self.world.store, self.tenant_id, jobs) if call else enqueue.one(self.world.store, self.tenant_id, jobs[0]))
            self.model.put_plain(flush)

    @rule(specs=st.lists(some.full(), min_size=1, max_size=4), data=st.data())
    def put_jobs(self, specs: list[Spec], data: st.DataObject) -> None:
        """With keys, times, limits; now and then one is sent again."""
        if self.model.jobs and data.draw(st.integers(0, 4), label="again") == 0:
            specs[0] = specs[0]._replace(id=data.draw(st.sampled_from(sorted(self.model.jobs)), label="id"))
        answers = self.run(enqueue.jobs(self.world.store, self.tenant_id, [_job(spec, self.model.origin) for spec in specs]))

        assert self.model.put(specs) == answers

    # -- out ---------------------------------------------------------------------------------------

    @rule(queue=some.queues, limit=st.integers(1, 4), data=st.data())
    def claim_from_the_front(self, queue: str, limit: int, data: st.DataObject) -> None:
        self._claim(self._worker(data), queue, limit, 0, {})

    @precondition(lambda self: self.seen)
    @rule(queue=some.queues, limit=st.integers(1, 4), by_priority=st.booleans(), data=st.data())
    def claim_behind_marks(self, queue: str, limit: int, by_priority: bool, data: st.DataObject) -> None:
        """Only what stands behind the places that were seen, of each priority or of all."""
        marks = dict(self.seen) if by_priority else {}
        self._claim(self._worker(data), queue, limit, 0 if by_priority else max(self.seen.values()), marks)

    def _claim(self, worker: Session, queue: str, limit: int, floor: int, marks: dict[int, int]) -> None:
        call = work.claim(self._store(worker), self.tenant_id, self.queue_ids[queue], worker.id, limit=limit, floor=floor, marks=marks)
        if worker.is_dead:
            with pytest.raises(SessionLost):
                self.run(call)
        else:
            self._compare_claim(worker, self.model.next_in_line(queue, limit, floor, marks), self.run(call))

    @rule(queue=some.queues, one=st.integers(1, 3), other=st.integers(1, 3), commits=st.booleans())
    def claim_while_another_claims(self, queue: str, one: int, other: int, commits: bool) -> None:
        """The second takes what the first left, also when the first rolls back."""
        first, second = self.workers[:2]
        if first.is_dead or second.is_dead:
            return
        line = self.model.next_in_line(queue, one + other, 0, {})
        claims = [(self.tenant_id, self.queue_ids[queue], who.id, limit, 0, [], []) for who, limit in ((first, one), (second, other))]
        taken, beside = self.run(self.world.claim_while_another_claims(*claims, commits=commits))

        assert [job.id for job in line[:one]] == [claimed.job_id for claimed in taken]
        if commits:
            self._compare_claim(first, line[:one], taken)
        self._compare_claim(second, line[one:], beside)

    def _compare_claim(self, worker: Session, expected: list[Job], claimed: list[Any]) -> None:
        self.model.claim(worker.id, expected)

        assert [(job.id, job.attempt, job.failures, job.priority, job.ord) for job in expected] == [
            (c.job_id, c.attempt, c.failures, c.priority, c.ord) for c in claimed
        ]
        for job in expected:
            self.seen[job.priority] = max(self.seen.get(job.priority, 0), job.ord or 0)

    # -- reports -----------------------------------------------------------------------------------

    @precondition(lambda self: self.model.claimed)
    @rule(data=st.data())
    def complete(self, data: st.DataObject) -> None:
        """Some reports of the flush may be stale, or written before."""
        fences = self._fences(data)
        stale = self.run(
            work.ack_completed(self.world.stores[1], self.tenant_id, [f[0] for f in fences], [f[1] for f in fences], ["1"] * len(fences))
        )

        assert self.model.complete(fences) == stale

    @precondition(lambda self: self.model.claimed)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        """Each with an ending of its own."""
        self._settle(
            [Report(*fence, data.draw(some.endings), data.draw(some.errors), data.draw(some.delays)) for fence in self._fences(data)]
        )

    @precondition(lambda self: self.said)
    @rule(data=st.data(), other=st.one_of(st.none(), st.none(), some.errors), in_other_words=st.booleans())
    def settle_again(self, data: st.DataObject, other: str | None, in_other_words: bool) -> None:
        """The answer was lost, so the worker says it once more, perhaps much later; or somebody else says something like it."""
        again = data.draw(st.lists(st.sampled_from(self.said), min_size=1, max_size=3), label="said")
        self._settle([report._replace(error=other) for report in again] if in_other_words else again)

    @rule(queue=some.queues, endings=st.lists(st.sampled_from((*some.ENDINGS, "failed", "lost")), min_size=1, max_size=3), data=st.data())
    def work_a_while(self, queue: str, endings: list[str], data: st.DataObject) -> None:
        """What a worker does all day: it claims a few and reports each."""
        worker = self._worker(data)
        self._claim(worker, queue, len(endings), 0, {})
        mine = [job for job in self.model.of("lease", queue) if job.session == worker.id][-len(endings) :]
        if mine:
            self._settle(
                [Report(job.id, job.attempt, ending, data.draw(some.errors), 100) for job, ending in zip(mine, endings, strict=False)]
            )

    def _settle(self, reports: list[Report]) -> None:
        self.said = [*self.said, *reports][-8:]
        rows = self.run(work.settle(self.world.stores[2], self.tenant_id, *map(list, zip(*reports, strict=True))))

        assert len(rows) == len({row[:2] for row in rows})
        assert self.model.settle(reports) == {(row.job_id, row.attempt): row.next for row in rows}

    @precondition(lambda self: self.model.claimed)
    @rule(data=st.data(), value=st.sampled_from(("1", "2")))
    def save_progress(self, data: st.DataObject, value: str) -> None:
        fences = self._fences(data)
        saved = self.run(
            work.save_progress(self.world.store, self.tenant_id, [f[0] for f in fences], [f[1] for f in fences], [value] * len(fences))
        )

        assert self.model.save_progress(fences, value) == saved

    @precondition(lambda self: self.model.claimed)
    @rule(data=st.data(), value=st.sampled_from(('"a"', '"b"')))
    def save_checkpoint(self, data: st.DataObject, value: str) -> None:
        (fence,) = self._fences(data, most=1)

        assert self.model.save_checkpoint(fence, value) == self.run(work.save_checkpoint(self.world.store, self.tenant_id, *fence, value))

    # -- people ------------------------------------------------------------------------------------

    @precondition(lambda self: self.model.jobs)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        job_ids = self._job_ids(data)

        assert self.model.cancel(job_ids) == self.run(operate.cancel(self.world.store, self.tenant_id, job_ids, "why"))

    @precondition(lambda self: self.model.jobs)
    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        job_ids = self._job_ids(data, most=4)

        assert self.model.retry(job_ids) == self.run(operate.retry(self.world.store, self.tenant_id, job_ids))

    @rule(queue=st.sampled_from((None, *QUEUES)), kind=st.one_of(st.none(), some.kinds))
    def redrive(self, queue: str | None, kind: str | None) -> None:
        assert self.model.redrive(queue, kind) == self.run(operate.redrive(self.world.store, self.tenant_id, queue, kind, 1000))

    @precondition(lambda self: self.model.jobs)
    @rule(data=st.data(), priority=some.priorities)
    def reprioritize(self, data: st.DataObject, priority: int) -> None:
        job_ids = self._job_ids(data)

        assert self.model.reprioritize(job_ids, priority) == self.run(
            operate.reprioritize(self.world.store, self.tenant_id, job_ids, priority)
        )

    @precondition(lambda self: self.model.jobs)
    @rule(data=st.data(), in_s=st.sampled_from((-100, 0, 100, 1000)))
    def reschedule(self, data: st.DataObject, in_s: int) -> None:
        (job_id,), due = self._job_ids(data, most=1), self.model.now + in_s
        moved = self.run(operate.reschedule(self.world.store, self.tenant_id, job_id, _moment(self.model.origin + due)))

        assert self.model.reschedule(job_id, due) == moved

    @rule(queue=some.queues, paused=st.sampled_from((True, False, False)))
    def pause(self, queue: str, paused: bool) -> None:
        assert self.model.pause(queue, paused) == self.run(operate.pause_queue(self.world.store, self.tenant_id, queue, paused))

    # -- time and processes --------------------------------------------------------------------------

    @rule(seconds=st.sampled_from(some.MOVES_S))
    def move_the_clock(self, seconds: int) -> None:
        self.run(self.world.clock.forward(seconds))
        self.model.now += seconds

    @rule()
    def promote(self) -> None:
        assert self.model.promote() == self.run(sessions.promote(self.world.store))

    @rule(data=st.data())
    def tick(self, data: st.DataObject) -> None:
        """Heartbeat, due jobs, rescue, news."""
        worker, mark = self._worker(data), max(self.seen.values(), default=0)
        self.run(self.world.store.fetch(DUTY_IS_DUE))
        before = self.highest
        said = self.run(sessions.tick(self._store(worker), worker.id, TTL_S, list(self.queue_ids.values()), mark))
        is_alive = self.model.tick(worker)
        waiting = [job.due[0] - self.model.now for job in self.model.of("deferred")]
        behind = {job.queue for job in self.model.of("ready") if job.ord is None or job.ord > mark} | {
            job.dead_letter for job in self.model.copies
        }
        cancels = {f"{job.id} {job.attempt}" for job in self.model.of("lease") if job.session == worker.id and job.cancel_at is not None}

        assert said.ord_now > before
        assert (is_alive, cancels) == (said.alive, set(said.cancels or []))
        assert {self.queue_ids[queue] for queue in behind - self.model.paused} == set(said.work or [])
        assert not waiting or said.due_in_s == pytest.approx(min(waiting), abs=DRIFT_S)

    @rule(data=st.data())
    def come_back(self, data: st.DataObject) -> None:
        """A process whose session is over starts a new one; one that is well says goodbye first."""
        worker = self._worker(data)
        if not worker.is_dead:
            self.run(sessions.close_session(self._store(worker), worker.id))
            self.model.close(worker)
        n = self.workers.index(worker)
        self.workers[n] = self._open(n)

    # -- after every step ------------------------------------------------------------------------------

    @invariant()
    def everything_stands_as_predicted(self) -> None:
        """One home a job, the one the model says; keys belong to whom they should; places only ever grow."""
        rows = self.run(self.world.standing(self.tenant_id))
        for found in sorted(rows["jobs"], key=lambda row: str(row["source"])):
            if found["id"] not in self.model.jobs:
                assert found["source"] is not None, f"job {found['id']} was never put in"
                self.model.adopt(found["id"], UUID(found["source"]))
        assert [] == self.model.copies, "a dead letter is missing"
        assert set(self.model.jobs) == {row["id"] for row in rows["jobs"]}
        homes = Counter(row["job_id"] for row in rows["stands"])
        assert [] == [job_id for job_id, count in homes.items() if count > 1], "a job stands in two places"
        self._read_places({row["job_id"]: row["ord"] for row in rows["stands"] if row["home"] == "ready"})
        assert {job.id: self._expected(job) for job in self.model.jobs.values()} == {
            row["job_id"]: self._found(row) for row in rows["stands"]
        }
        assert {(job.id, n.attempt, n.ending) for job in self.model.jobs.values() for n in job.notes} == {
            tuple(row) for row in rows["notes"]
        }
        assert sum(len(job.notes) for job in self.model.jobs.values()) == len(rows["notes"])
        self._check_keys(rows)

    def _read_places(self, places: dict[UUID, int]) -> None:
        for job in self.model.arrivals:
            if job.home == "ready" and job.ord is None:
                assert job.id in places, f"job {job.id} did not come into line"
                assert places[job.id] > self.highest, f"job {job.id} did not go to the end of the line"
                job.ord = self.highest = places[job.id]
        self.model.arrivals.clear()

    def _expected(self, job: Job) -> tuple[object, ...]:
        where = {
            "ready": (job.failures, job.priority, job.ord),
            "deferred": (job.failures, job.priority, job.due[0], job.reason),
            "lease": (job.failures, job.priority, job.ord, job.deadline, job.session, job.cancel_at is not None, job.progress),
            "outcome": (job.state, job.progress, job.failures, job.priority if job.state != "completed" else None),
        }
        return job.home, job.queue, job.attempt, *where[job.home]

    def _found(self, row: Any) -> tuple[object, ...]:
        at_s = None if row["at_s"] is None else int(row["at_s"] - self.model.origin) // 100 * 100
        if row["home"] == "lease" and at_s is not None:
            at_s = int(row["at_s"] - self.model.origin) // 50 * 50
        where = {
            "ready": (row["failures"], row["priority"], row["ord"]),
            "deferred": (row["failures"], row["priority"], at_s, row["word"]),
            "lease": (row["failures"], row["priority"], row["ord"], at_s, row["session_id"], row["word"] is not None, row["progress"]),
            "outcome": (row["word"], row["progress"], row["failures"], row["priority"]),
        }
        return row["home"], self.queues[row["queue_id"]], row["attempt"], *where[row["home"]]

    def _check_keys(self, rows: dict[str, Any]) -> None:
        held = {(self.queues[row["queue_id"]], row["key"]): (row["job_id"], row["is_slot"]) for row in rows["unique"]}
        assert {slot: (job_id, until is not None) for slot, (job_id, until) in self.model.unique.items()} == held
        assert [] == [job_id for job_id, is_slot in held.values() if not is_slot and not self.model.jobs[job_id].is_live], (
            "an ended job holds a key"
        )
        assert {key: job_id for key, (job_id, _) in self.model.idempotency.items()} == {
            (row["name"], row["key"]): row["job_id"] for row in rows["idempotency"]
        }
        assert set(self.model.jobs) >= {job_id for job_id, _ in self.model.idempotency.values()}
        assert self.model.checkpoints == {row["job_id"]: row["value"] for row in rows["checkpoints"]}

    @invariant()
    def the_other_tenant_is_as_it_was(self) -> None:
        """Not one of its rows was written."""
        assert self.world.frozen.fingerprint == self.run(self.world.fingerprint())


def _moment(at_s: int) -> datetime:
    return datetime.fromtimestamp(at_s, UTC)


def _job(spec: Spec, origin: int) -> NewJob:
    given = {name: value for name, value in spec._asdict().items() if value is not None and name not in ("run_at", "idempotency_window")}
    if spec.run_at is not None:
        given["run_at"] = _moment(origin + spec.run_at)
    if spec.idempotency_window is not None:
        given["idempotency_window"] = float(spec.idempotency_window)
    return new_job(given.pop("kind"), {}, **given)
