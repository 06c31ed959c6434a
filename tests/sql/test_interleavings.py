"""A property test: whatever happens in whatever order on whatever connection, the database and a small model agree.

After every step: each job is in exactly one place; its attempt, failures and priority are the model's; a unique key has one
live holder; attempts never repeat and never fall; completed is recorded once.
"""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import asyncpg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from tests.support.model import LIVE, RETRY_LIMIT, RETRY_S, TIMEOUT_S, TTL_S, Model, ModelJob
from tests.support.queue import Queue
from trunkline.errors import SessionLost, Unavailable
from trunkline.model import Policy, new_job
from trunkline.settings import Settings
from trunkline.store import Store, operate, read, work
from trunkline.store import sessions as store_sessions
from trunkline.testing import DatabaseClock

HOMES = """
select j.id, h.home, h.attempt, h.failures, h.priority, h.place
  from trunkline.job as j
  left join lateral (
    select 'ready' as home, attempt, failures, priority, ord as place from trunkline.ready as r where r.tenant_id = j.tenant_id and r.job_id = j.id
    union all select 'deferred', attempt, failures, priority, null from trunkline.deferred as d where d.tenant_id = j.tenant_id and d.job_id = j.id
    union all select 'lease', attempt, failures, priority, ord from trunkline.lease as l where l.tenant_id = j.tenant_id and l.job_id = j.id
    union all select (array['completed', 'failed', 'cancelled'])[o.state], o.attempt, coalesce((o.detail ->> 'failures')::integer, 0),
                     coalesce((o.detail ->> 'priority')::integer, 0), null
                from trunkline.outcome as o where o.tenant_id = j.tenant_id and o.job_id = j.id) as h on true
 where j.tenant_id = $1"""
KEYS = "select key, job_id from trunkline.unique_key where tenant_id = $1"

WORKDAY = ["failed", "failed", "lost", "completed", "snoozed", "released", "fatal"]


class Interleavings(RuleBasedStateMachine):
    """One tenant per run, so that a run begins empty; three connections; the clock of the database only goes forward."""

    url: str
    runner: asyncio.Runner
    stores: list[Store]
    clock: DatabaseClock

    @initialize()
    def begin(self) -> None:
        """A tenant, its queue, and a session that lives."""
        self.model = Model()
        policy = Policy(retry_limit=RETRY_LIMIT, retry_delay_s=RETRY_S, retry_backoff=False, timeout_s=2_000_000)
        self.queues = [self.do(Queue.open(self.stores[0], tenant=f"t{uuid4().hex}", policy=policy, ttl_s=1e9))]
        first = self.queues[0]
        self.queues += [Queue(store, first.tenant_id, first.queue_id, first.session_id, "work") for store in self.stores[1:]]
        self.model.sessions[first.session_id] = float("inf")
        self.reports: list[tuple[UUID, int]] = []  # every lease that ever was
        self.attempts: dict[UUID, int] = {}

    def do(self, work):
        """Run a coroutine to its end."""
        return self.runner.run(work)

    def pick(self, n: int) -> UUID:
        """One of the jobs."""
        ids = sorted(self.model.jobs)
        return ids[n % len(ids)]

    def queue(self, n: int) -> Queue:
        """One of the connections."""
        return self.queues[n % len(self.queues)]

    # -- in -------------------------------------------------------------------------------

    @rule(count=st.integers(1, 4), on=st.integers(0, 2))
    def put_plain(self, count, on):
        """Through the fast path."""
        for id_ in self.do(self.queue(on).put_plain(count)):
            self.model.put(ModelJob(id_))

    @rule(
        on=st.integers(0, 2), priority=st.sampled_from([0, 0, 5]), delayed=st.booleans(), timeout=st.booleans(),
        key=st.sampled_from([None, None, "a", "b"]), replace=st.booleans(), idempotency=st.sampled_from([None, None, "i", "j"]), again=st.booleans(),
    )  # fmt: skip
    def put(self, on, priority, delayed, timeout, key, replace, idempotency, again):
        """Through the full path; sometimes said twice, as when an answer was lost."""
        options = {"priority": priority, "unique_key": key, "idempotency_key": idempotency, "user_id": "u"}
        options |= {"delay": 100} if delayed else {}
        options |= {"timeout": TIMEOUT_S} if timeout else {}
        options |= {"unique_replace": True} if key and replace else {}
        job = new_job("work", **options)
        expected = self.model.put(
            ModelJob(job.id, priority=priority, timeout=timeout, key=key),
            delayed=delayed,
            replace=bool(key and replace),
            idempotency_key=idempotency,
        )
        answers = [self.do(self.queue(on).put_jobs([job]))[0]]
        if again and expected[1]:
            answers.append(self.do(self.queue(on + 1).put_jobs([job]))[0])

        assert [expected] * len(answers) == answers

    # -- out ------------------------------------------------------------------------------

    @rule(on=st.integers(0, 2), limit=st.integers(1, 4), who=st.integers(0, 5))
    def claim(self, on, limit, who):
        """By a session that lives, or by one that is over."""
        session = sorted(self.model.sessions)[who % len(self.model.sessions)] if who < 5 else 987654321
        expected = self.model.claim(session, limit)
        if expected is None:
            with pytest.raises(SessionLost):
                self.do(self.queue(on).claim(limit, session_id=session))
            return
        claimed = self.do(self.queue(on).claim(limit, session_id=session))
        self.reports += expected

        assert expected == [(c.job_id, c.attempt) for c in claimed]

    @rule(on=st.integers(0, 2), endings=st.lists(st.sampled_from(WORKDAY), min_size=1, max_size=3), then=st.sampled_from([0, 200]))
    def work(self, on, endings, then):
        """What a worker does all day: claim a few, report each, and some time passes."""
        session = min(self.model.sessions)
        expected = self.model.claim(session, len(endings))
        claimed = self.do(self.queue(on).claim(len(endings), session_id=session))
        self.reports += expected
        assert expected == [(c.job_id, c.attempt) for c in claimed]
        for c, ending in zip(claimed, endings, strict=False):
            if ending == "completed":
                assert self.model.complete(c.job_id, c.attempt)
                assert set() == self.do(self.queue(on).complete(c))
            else:
                assert self.model.settle(c.job_id, c.attempt, ending) == self.do(self.queue(on).settle(c, ending, delay_s=100))
        if then:
            self.advance(on, then)

    @rule(on=st.integers(0, 2), which=st.lists(st.integers(0, 40), min_size=1, max_size=4))
    def complete(self, on, which):
        """A flush of acks: current ones, old ones, the same one twice."""
        if not self.reports:  # no precondition: whether a race claimed anything is chance, and rules may hang on drawn values only
            return
        reports = [self.reports[-1 - n % len(self.reports)] for n in which]
        expected = {job_id for job_id, attempt in sorted(set(reports)) if not self.model.complete(job_id, attempt)}
        queue = self.queue(on)
        stale = self.do(
            work.ack_completed(queue.store, queue.tenant_id, [r[0] for r in reports], [r[1] for r in reports], [None] * len(reports))
        )

        assert expected == stale

    @rule(
        on=st.integers(0, 2),
        which=st.integers(0, 40),
        ending=st.sampled_from(["failed", "fatal", "timed_out", "snoozed", "released", "cancelled"]),
    )
    def settle(self, on, which, ending):
        """Any other report, current or old."""
        if not self.reports:
            return
        job_id, attempt = self.reports[-1 - which % len(self.reports)]
        expected = self.model.settle(job_id, attempt, ending)
        queue = self.queue(on)
        rows = self.do(work.settle(queue.store, queue.tenant_id, [job_id], [attempt], [ending], [f'"{uuid4()}"'], [100.0]))

        # An old report may be recognised as one that was written before (a job that still waits since that attempt); it changes nothing.
        assert expected is None or [expected] == [row.next for row in rows]

    # -- people -----------------------------------------------------------------------------

    @precondition(lambda self: self.model.jobs)
    @rule(on=st.integers(0, 2), which=st.integers(0, 40))
    def cancel(self, on, which):
        """Wherever it stands."""
        job_id = self.pick(which)

        assert self.model.cancel(job_id) == self.do(self.queue(on).cancel(job_id))

    @precondition(lambda self: self.model.jobs)
    @rule(on=st.integers(0, 2), which=st.lists(st.integers(0, 40), min_size=1, max_size=3))
    def retry(self, on, which):
        """By hand."""
        ids = list({self.pick(n) for n in which})

        assert self.model.retry(ids) == self.do(self.queue(on).retry(*ids))

    @rule(on=st.integers(0, 2))
    def redrive(self, on):
        """All that failed."""
        failed = [job.id for job in self.model.jobs.values() if job.home == "failed"]
        queue = self.queue(on)

        assert len(self.model.retry(failed)) == self.do(operate.redrive(queue.store, queue.tenant_id, "work", None, 1000))

    @precondition(lambda self: self.model.jobs)
    @rule(on=st.integers(0, 2), which=st.integers(0, 40), seconds=st.sampled_from([-100, 100, 300]))
    def reschedule(self, on, which, seconds):
        """Later, or now."""
        job_id = self.pick(which)
        at = datetime.now(UTC) + timedelta(seconds=self.clock.offset_s + seconds)
        queue = self.queue(on)

        assert self.model.reschedule(job_id, seconds) == self.do(operate.reschedule(queue.store, queue.tenant_id, job_id, at))

    @precondition(lambda self: self.model.jobs)
    @rule(on=st.integers(0, 2), which=st.integers(0, 40), priority=st.sampled_from([0, 5, 9]))
    def reprioritize(self, on, which, priority):
        """Up or down."""
        job = self.model.jobs[self.pick(which)]
        queue = self.queue(on)
        count = self.do(operate.reprioritize(queue.store, queue.tenant_id, [job.id], priority))
        if job.home in ("ready", "deferred"):
            job.priority = priority

        assert (job.home in ("ready", "deferred")) == count

    @rule(on=st.integers(0, 2), paused=st.booleans())
    def pause(self, on, paused):
        """Or resume."""
        changed = self.do(operate.pause_queue(self.queue(on).store, self.queue(on).tenant_id, "work", paused))
        before, self.model.paused = self.model.paused, paused

        assert changed == (before != paused)

    # -- time and processes --------------------------------------------------------------------

    @rule(on=st.integers(0, 2), seconds=st.sampled_from([200, 200, 400, 600]))
    def advance(self, on, seconds):
        """The clock moves; a process ticks. Sessions that did not renew are dead, leases past their deadline are taken."""
        self.do(self.clock.forward(seconds))
        self.model.advance(seconds)
        for _ in range(5):
            self.do(self.queue(on).tick(ttl_s=1e9))
            if self.model.seen() == self.seen():
                break
            self.do(self.clock.forward(6))  # a busy server may leave a part of a rescue to the next round

    @precondition(lambda self: len(self.model.sessions) < 4)
    @rule(on=st.integers(0, 2))
    def open_session(self, on):
        """A process that will not renew."""
        self.model.sessions[self.do(self.queue(on).session(TTL_S))] = self.model.now + TTL_S

    @precondition(lambda self: len(self.model.sessions) > 1)
    @rule(on=st.integers(0, 2), which=st.integers(0, 3))
    def close_session(self, on, which):
        """A process that says goodbye."""
        mortal = sorted(s for s, expires_at in self.model.sessions.items() if expires_at < float("inf"))
        session = mortal[which % len(mortal)]
        self.model.close(session)
        self.do(store_sessions.close_session(self.queue(on).store, session))

    # -- two at once ------------------------------------------------------------------------------

    @precondition(lambda self: self.model.jobs)
    @rule(
        what=st.lists(st.sampled_from(["claim", "complete", "fail", "release", "cancel", "retry", "put"]), min_size=2, max_size=3),
        n=st.integers(0, 40),
    )
    def race(self, what, n):
        """Several calls at the same moment. Which order they took is theirs; that each job took lawful steps is checked."""
        before = self.model.seen()
        self.do(self._race(what, n))
        self.adopt(before)

    async def _race(self, what, n):
        queues, sessions = self.queues, sorted(self.model.sessions)
        chance = random.Random(n)
        leased = [job for job in self.model.jobs.values() if job.home == "lease"] or [None]
        anyone = chance.choice(sorted(self.model.jobs))

        async def one(word: str, queue: Queue) -> None:
            job = chance.choice(leased)
            if word == "claim":
                self.reports += [(c.job_id, c.attempt) for c in await queue.claim(3, session_id=chance.choice(sessions))]
            elif word == "put":
                await queue.put(unique_key="a", unique_replace=True)
            elif word == "cancel":
                await queue.cancel(job.id if job else anyone)
            elif word == "retry":
                await queue.retry(anyone)
            elif job is not None:
                await self._report(queue, word, job)

        answers = await asyncio.gather(*(one(word, queues[i]) for i, word in enumerate(what)), return_exceptions=True)
        for answer in answers:  # who waited too long may try again; a deadlock is never right
            if isinstance(answer, BaseException) and (not isinstance(answer, Unavailable) or "deadlock" in str(answer)):
                raise answer

    @staticmethod
    async def _report(queue: Queue, word: str, job: ModelJob) -> None:
        arguments = (queue.store, queue.tenant_id, [job.id], [job.attempt])
        if word == "complete":
            await work.ack_completed(*arguments, [None])
        else:
            await work.settle(*arguments, ["failed" if word == "fail" else "released"], [None], [None])

    def adopt(self, before) -> None:
        """Take over what the database says after a race, if every job could have come from where it was."""
        rows = self.rows()
        for row in rows:
            _, attempt, _, _ = before.get(row["id"], ("", 0, 0, 0))
            assert row["attempt"] in (attempt, attempt + 1), "an attempt rises by one or stays"
            assert before.get(row["id"], ("",))[0] != "completed" or row["home"] == "completed", "completed is final"
            job = self.model.jobs.setdefault(row["id"], ModelJob(row["id"], key="a"))
            job.home, job.attempt, job.failures, job.priority = row["home"], row["attempt"], row["failures"], row["priority"]
            job.session, job.cancel_at, job.ends_at = None, None, float("inf")  # of leases and waits: below
        self.model.holders = {row["key"]: row["job_id"] for row in self.do(self.stores[0].fetch(KEYS, self.queues[0].tenant_id))}
        for row in self.do(self.stores[0].fetch(TIMES, self.queues[0].tenant_id)):
            job = self.model.jobs[row["job_id"]]
            job.since = self.model.next_place()
            job.session, job.ends_at = row["session_id"], self.model.now + 100 * round(row["ends_in_s"] / 100)
            job.cancel_at = None if row["cancel_ago_s"] is None else self.model.now - 100 * round(row["cancel_ago_s"] / 100)
        placed = [row for row in rows if row["place"] is not None]
        for row in sorted(placed, key=lambda row: row["place"]):
            self.model.jobs[row["id"]].place = self.model.next_place()

    def rows(self) -> list[asyncpg.Record]:
        """Where every job of this tenant stands."""
        return self.do(self.stores[0].fetch(HOMES, self.queues[0].tenant_id))

    def seen(self) -> dict[UUID, tuple[str, int, int, int]]:
        """The same as the model's `seen`."""
        return {row["id"]: (row["home"], row["attempt"], row["failures"], row["priority"]) for row in self.rows()}

    # -- always ------------------------------------------------------------------------------------

    @invariant()
    def they_agree(self):
        """The database says what the model says, and each job is in exactly one place."""
        if not hasattr(self, "queues"):
            return
        rows = self.rows()

        assert len(rows) == len({row["id"] for row in rows}), "a job stands in two places"
        assert self.model.seen() == {row["id"]: (row["home"], row["attempt"], row["failures"], row["priority"]) for row in rows}
        for row in rows:
            assert row["attempt"] >= self.attempts.get(row["id"], 0), "an attempt never falls"
            self.attempts[row["id"]] = row["attempt"]

    @invariant()
    def keys_have_live_holders(self):
        """One live job per key, and no key without one."""
        if not hasattr(self, "queues"):
            return
        held = {row["key"]: row["job_id"] for row in self.do(self.stores[0].fetch(KEYS, self.queues[0].tenant_id))}

        assert self.model.holders == held
        assert all(self.model.jobs[job_id].home in LIVE for job_id in held.values())

    def teardown(self):
        """The attempts of every job are those that the model noted; each outcome is one row."""
        if not hasattr(self, "queues"):
            return
        queue = self.queues[0]
        for job in list(self.model.jobs.values())[:10]:
            endings = [(row["attempt"], row["ending"]) for row in self.do(read.attempts(queue.store, queue.tenant_id, job.id))]

            assert len(endings) == len(set(endings)) or job.attempt == 0 or any(e == "cancelled" for _, e in endings)
        self.do(queue.store.fetch("select trunkline.cancel_queued($1, $2, 'over')", queue.tenant_id, list(self.model.jobs)))
        self.do(queue.store.fetch("delete from trunkline.lease where tenant_id = $1", queue.tenant_id))


TIMES = """
select job_id, session_id, extract(epoch from deadline - trunkline.now())::float8 as ends_in_s,
       extract(epoch from trunkline.now() - cancel_requested_at)::float8 as cancel_ago_s
  from trunkline.lease where tenant_id = $1
union all select job_id, null, extract(epoch from run_at - trunkline.now())::float8, null from trunkline.deferred where tenant_id = $1
 order by ends_in_s"""


def explore(url: str, **how) -> None:
    """Run the machine on one database."""
    with asyncio.Runner() as runner:
        stores = [runner.run(Store.connect(Settings.load({}, database_url=url, pool_max=2))) for _ in range(3)]
        machine = type("Here", (Interleavings,), {"url": url, "runner": runner, "stores": stores, "clock": DatabaseClock(stores[0])})
        try:
            run_state_machine_as_test(
                machine,
                settings=settings(deadline=None, suppress_health_check=list(HealthCheck), print_blob=True, database=None, **how),
            )
        finally:
            for store in stores:
                runner.run(store.close())


def test_any_interleaving_agrees_with_the_model(trunkline_url):
    """A fixed set of runs, so that the suite says the same today and tomorrow; shrinking one would take minutes."""
    explore(trunkline_url, max_examples=50, stateful_step_count=40, derandomize=True, phases=[Phase.generate])


@pytest.mark.chaos
@pytest.mark.timeout(3600)
def test_many_more_interleavings_agree_with_the_model(trunkline_url):
    """New ones each time; a failure prints how to repeat it."""
    explore(trunkline_url, max_examples=1500, stateful_step_count=80)
