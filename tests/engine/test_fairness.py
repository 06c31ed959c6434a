"""Two hundred small tenants beside a large one, the same workers for all. Counts of starts, not times."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.support.until import until
from trunkline import Job, Trunkline, new_job
from trunkline.settings import Settings
from trunkline.store import work

SMALL, SLOTS = 200, 10


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
