"""Two hundred small tenants beside a large one, the same workers for all. Counts of starts, not times."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator

import asyncpg
import pytest

from tests.support.until import until
from trunkline import Job, Trunkline, new_job
from trunkline.engine.company import MOST, MOST_ENDINGS
from trunkline.settings import Settings
from trunkline.store import work

SMALL, SLOTS = 200, 10
LEASE = """insert into trunkline.lease (tenant_id, job_id, ord, claimed_at, deadline, session_id, attempt, queue_id, priority, failures, traits)
  select r.tenant_id, r.job_id, 0, now(), now(), 0, 0, 0, 0, 0, 0 from trunkline.ready as r where r.tenant_id = $1 limit 1"""
PIECES = """select (select max(n) from (select count(*) as n from trunkline.attempt where tenant_id = $1 group by started_at) as c) as claimed,
  (select max(n) from (select count(*) as n from trunkline.attempt where tenant_id = $1 group by ended_at) as w) as written"""


class Undone(Exception):
    """Ends a transaction that is not to be committed."""


class Starts:
    """The order in which jobs started, by tenant; a job ends when `go` is set, unless its tenant is among the `stuck`."""

    def __init__(self) -> None:
        self.tenants: list[int] = []
        self.go, self.over = asyncio.Event(), asyncio.Event()
        self.stuck: set[int] = set()
        self.takes_s = 0.0

    def declare(self, app: Trunkline, *queues: str) -> None:
        """A handler for every tenant in each of `queues`."""

        async def handler(job: Job, fails: bool = False) -> None:
            self.tenants.append(job.tenant_id)
            await self.go.wait()
            if job.tenant_id in self.stuck:
                await self.over.wait()
            await asyncio.sleep(self.takes_s)
            if fails:
                raise RuntimeError("again")

        for queue in queues:
            app.job(queue, tenants="all", retry_delay=0, retry_limit=50)(handler)

    def before_each_of(self, tenants: list[int], of: int, since: int = 0) -> int:
        """How many of tenant `of` started from the `since`-th start on, before each of `tenants` had its first."""
        left, count = set(tenants) - set(self.tenants[:since]), 0
        for tenant in self.tenants[since:]:
            if not left:
                break
            left.discard(tenant)
            count += tenant == of
        assert not left, f"{len(left)} tenants never started"
        return count


@pytest.fixture
def starts(app: Trunkline) -> Iterator[Starts]:
    """Notes of what `app` starts in the queue `work`."""
    starts = Starts()
    starts.declare(app, "work")
    yield starts
    starts.go.set()
    starts.over.set()


async def opened(app: Trunkline, *tenants: str, queues: tuple[str, ...] = ("work",)) -> list[int]:
    """Tenants whose queues are there, so that a worker serves them from its start."""
    ids = [await app.tenant_id(name) for name in tenants]
    for tenant_id in ids:
        await work.open_lines(await app.open(), tenant_id, queues)
    return ids


async def backlog(app: Trunkline, tenant: str, count: int, kind: str = "work", **payload: object) -> None:
    """Jobs in line."""
    await app.enqueue_many([new_job(kind, payload) for _ in range(count)], tenant=tenant)


@pytest.fixture
async def crowd(app: Trunkline) -> tuple[int, list[int]]:
    """(the large tenant, the small ones)."""
    big, *small = await opened(app, "big", *(f"small-{n}" for n in range(SMALL)))
    return big, small


async def enqueue_small(app: Trunkline) -> None:
    """One job for each."""
    await asyncio.gather(*(app.enqueue("work", tenant=f"small-{n}") for n in range(SMALL)))


async def test_everybody_starts_before_a_backlog_has_had_more_than_its_turn(app, starts, crowd):
    """Everything is in line when the worker comes."""
    big, small = crowd
    await backlog(app, "big", 5000)
    await enqueue_small(app)
    starts.go.set()
    await app.start_worker(concurrency=SLOTS)
    await until(lambda: set(small) <= set(starts.tenants), "each small tenant has started")

    assert starts.before_each_of(small, big) <= SLOTS


async def test_two_processes_are_as_fair_as_one(app, starts, crowd, trunkline_url):
    """Each gives its own slots by shares."""
    big, small = crowd
    await backlog(app, "big", 5000)
    await enqueue_small(app)
    starts.go.set()
    async with Trunkline(settings=Settings.load({}, database_url=trunkline_url, shutdown_timeout_s=5)) as second:
        starts.declare(second, "work")
        await asyncio.gather(app.start_worker(concurrency=SLOTS), second.start_worker(concurrency=SLOTS))
        await until(lambda: set(small) <= set(starts.tenants), "each small tenant has started")

    # Whoever finds a line emptied by the other goes on to the next: the large one may get a turn for each such find.
    assert starts.before_each_of(small, big) <= 4 * SLOTS


async def test_slots_that_become_free_go_to_those_who_came_later(app, starts, crowd):
    """The large tenant was alone and holds every slot."""
    big, small = crowd
    await backlog(app, "big", 5000)
    worker = await app.start_worker(concurrency=SLOTS)
    await until(lambda: len(starts.tenants) == SLOTS, "it holds every slot")
    await enqueue_small(app)
    lines = {line.tenant_id: line for line in worker._fetcher._order}
    await until(lambda: all(lines[tenant].has_work for tenant in small), "all are noticed")
    starts.go.set()
    await until(lambda: set(small) <= set(starts.tenants), "each small tenant has started")

    assert starts.before_each_of(small, big, since=SLOTS) <= SLOTS


@pytest.mark.parametrize("fails", [False, True])
async def test_small_tenants_are_noticed_beside_one_that_never_lets_the_worker_rest(app, starts, crowd, fails):
    """Its jobs go through, or fail and come back at once; a signal tells of the others."""
    big, small = crowd
    starts.takes_s = 0.004
    starts.go.set()
    await backlog(app, "big", 5000, fails=fails)
    await app.start_worker(concurrency=SLOTS)
    await until(lambda: len(starts.tenants) > 300, "it is at work")
    await enqueue_small(app)
    since = len(starts.tenants)
    await until(lambda: set(small) <= set(starts.tenants), "each small tenant has started")

    assert starts.before_each_of(small, big, since) <= 300


async def test_jobs_that_never_end_take_their_share_of_the_slots_and_no_more(app, starts):
    """The other tenant's thousand are done with the rest; a turn for each claim would give every slot away in the end."""
    stuck, other = await opened(app, "stuck", "other")
    starts.stuck = {stuck}
    starts.go.set()
    await backlog(app, "stuck", 100)
    await backlog(app, "other", 1000)
    await app.start_worker(concurrency=SLOTS)
    await until(lambda: starts.tenants.count(other) == 1000, "the other tenant's jobs are done")
    beside = starts.tenants[: 1000 - SLOTS].count(stuck)

    assert 0 < beside <= SLOTS / 2 + SLOTS / 4


async def test_slots_are_shared_by_weight(app, starts):
    """Three quarters for three of four shares."""
    heavy, light = await opened(app, "heavy", "light")
    assert 1 == await app.tenants.set_weight("heavy", 3)
    for tenant in ("heavy", "light"):
        await backlog(app, tenant, 50)
    await app.start_worker(concurrency=8)
    await until(lambda: len(starts.tenants) == 8, "every slot is taken")

    assert {heavy: 6, light: 2} == Counter(starts.tenants)


async def test_a_tenant_with_many_queues_gets_no_more_than_one_with_one(app, starts):
    """Shares are the tenant's, and its queues take turns within them."""
    queues = tuple(f"queue-{n}" for n in range(20))
    starts.declare(app, *queues)
    many, one = await opened(app, "many", "one", queues=("work", *queues))
    for queue in queues:
        await backlog(app, "many", 5, kind=queue)
    await backlog(app, "one", 50)
    await app.start_worker(concurrency=SLOTS)
    await until(lambda: len(starts.tenants) == SLOTS, "every slot is taken")

    assert {many: SLOTS // 2, one: SLOTS // 2} == Counter(starts.tenants)


async def test_a_claim_that_hangs_keeps_no_other_tenant_waiting(app, starts, store, trunkline_url):
    """Somebody holds the place of the large tenant's lease; it goes on when that is over, and a look for strays takes none of it away."""
    big, small = await opened(app, "big", "small")
    await backlog(app, "big", 20)
    starts.go.set()
    holder = await asyncpg.connect(trunkline_url)
    try:
        async with holder.transaction():
            await holder.execute(store.sql(LEASE), big)
            worker = await app.start_worker(concurrency=SLOTS)
            fetcher = worker._fetcher
            await until(lambda: big in fetcher._under_way.limits, "the large tenant's claim is under way")
            await backlog(app, "small", 50)
            await until(lambda: starts.tenants.count(small) == 50, "the other's jobs have run")
            before = starts.tenants.count(big)
            fetcher._strays_at = [0.0]
            fetcher.freed()
            raise Undone
    except Undone:
        await until(lambda: not fetcher._strays_at and worker.counts.total("completed") == 70, "all is done")
    finally:
        await holder.close()

    assert (0, {big: 20, small: 50}) == (before, Counter(starts.tenants))


async def test_who_holds_nothing_does_not_wait_behind_what_was_claimed_ahead(app, starts):
    """As much as the large tenant gets done in a moment was claimed for it; it is its jobs that wait for the next slot."""
    big, small = await opened(app, "big", "small")
    worker = await app.start_worker(concurrency=SLOTS)
    fetcher, runner = worker._fetcher, worker._runner
    fetcher._throughput.per_s, fetcher._throughput._at = 10_000.0, float("inf")  # it has found that so many are done in a second
    runner._stuck_since = float("inf")  # and nothing of it is handed back
    await backlog(app, "big", 1000)
    await until(lambda: runner.unstarted()[big] >= 290, "all that is claimed ahead waits")
    await app.enqueue("work", tenant="small")
    await until(lambda: runner.unstarted()[small], "the other's job is here")
    ahead = [job.tenant_id for job in runner._waiting].index(small)
    starts.go.set()
    await until(lambda: small in starts.tenants, "it has started")

    assert ahead <= 1


async def test_beside_others_a_large_tenant_moves_in_small_pieces(app, starts, store):
    """Each of its statements is one that everybody's commits wait for: claims and reports of a few at once, and few of them unwritten."""
    big, _ = await opened(app, "big", "small")
    starts.go.set()
    worker = await app.start_worker(concurrency=SLOTS)
    company = worker._fetcher._company
    company._several_until = company._small_until = float("inf")
    await backlog(app, "big", 1000, fails=True)
    await until(lambda: len(starts.tenants) >= 2000, "all of them failed, and some again")
    sizes = await store.fetch(PIECES, big)

    assert 1 < max(row["claimed"] for row in sizes) <= MOST
    assert 1 < max(row["written"] for row in sizes) <= MOST_ENDINGS
