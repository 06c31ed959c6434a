"""The measures. Each gets an empty database of its own, sets the peer up in it and drops it afterwards.

Always true: a result says `verified` only if every job was handled exactly once, counted by id over all workers.
Called by: peers. Calls: adapter.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import os
import statistics
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from adapter import Adapter, AdapterFailed, running
from catalogue import Peer

SINGLES = 2_000  # enqueue_single: enough for a steady mean, and bounded where a commit takes milliseconds
LOOK_S = 0.005  # how late we may see that the last outcome is recorded
STALL_S = 30  # no job handled or recorded for this long: the peer is stuck
SLOWEST_PER_S = 40  # a peer below this many jobs/s runs into the deadline

Result = dict[str, Any]
Progress = Callable[[str, int, int], None]  # what, done, of how many


@dataclass(frozen=True)
class Sizes:
    """How much to measure."""

    jobs: int
    samples: int
    seconds: float

    @property
    def deadline_s(self) -> float:
        """The longest any one measure may take."""
        return 60 + 2 * self.seconds + self.samples + self.jobs / SLOWEST_PER_S


@dataclass(frozen=True)
class Database:
    """The database of one measure."""

    url: str
    looking: asyncpg.Connection  # ours, beside the peer's


@dataclass(frozen=True)
class Drained:
    """What the workers did, once every outcome was recorded. Times are epoch seconds."""

    settled: float
    summaries: list[dict[str, Any]]
    history: list[tuple[float, int]]  # of the first worker

    @property
    def started(self) -> float:
        """When the first worker began to ask for jobs."""
        return float(min(each["started"] for each in self.summaries))

    @property
    def last(self) -> float:
        """When the last job was handled."""
        return float(max(each["last"] for each in self.summaries if each["last"]))

    def is_exactly_once(self, jobs: int) -> bool:
        """Whether jobs 0..`jobs`-1 were handled, each once and by one worker."""
        seen = 0
        for each in self.summaries:
            seen |= int.from_bytes(base64.b64decode(each["seen"]), "little")
        return sum(each["count"] for each in self.summaries) == jobs and seen == (1 << jobs) - 1


class Bench:
    """Measures one peer on one server.

    Attributes:
        about: `version`, `runtime` and `settings`, as the peer last told them.
    """

    def __init__(self, peer: Peer, *, admin: asyncpg.Connection, url: str, sizes: Sizes, progress: Progress) -> None:
        """Prepare; `admin` may create databases on the server at `url`, whose database name is replaced."""
        self.about: dict[str, Any] = {}
        self._peer = peer
        self._admin = admin
        self._url = url
        self._sizes = sizes
        self._progress = progress

    async def measure(self, name: str) -> Result:
        """Run the measure of this name.

        Raises:
            AdapterFailed: The peer stopped, got stuck or took longer than the deadline; nothing was measured.
        """
        try:
            async with asyncio.timeout(self._sizes.deadline_s), self._database() as database:
                return await self._of_name(name, database)
        except TimeoutError as error:
            raise AdapterFailed(f"{self._peer.name} was not done after {self._sizes.deadline_s:.0f} s") from error

    async def _of_name(self, name: str, database: Database) -> Result:
        match name:
            case "drain":
                return await self._drain(database, processes=1)
            case "drain_two":
                return await self._drain(database, processes=2)
            case "enqueue_bulk":
                return await self._enqueue(database, "bulk", self._sizes.jobs)
            case "enqueue_single":
                return await self._enqueue(database, "single", min(SINGLES, self._sizes.jobs))
            case "pickup":
                return await self._pickup(database)
            case "sustained":
                return await self._sustained(database)
            case "wal_per_job":
                return await self._wal_per_job(database)
            case _:
                raise ValueError(f"no measure {name!r}")

    async def _drain(self, database: Database, *, processes: int) -> Result:
        jobs = self._sizes.jobs
        await self._command(database.url, "enqueue", jobs, "bulk")
        drained = await self._work(database, jobs, processes)
        return {
            "jobs": jobs,
            "value": jobs / (drained.settled - drained.started),
            "unit": "jobs/s",
            "verified": drained.is_exactly_once(jobs),
            "handled_per_s": jobs / (drained.last - drained.started),
            "shares": [each["count"] for each in drained.summaries],
        }

    async def _enqueue(self, database: Database, manner: str, jobs: int) -> Result:
        done = await self._command(database.url, "enqueue", jobs, manner)
        verified = await self._left(database) == jobs
        return {"jobs": jobs, "value": jobs / done["seconds"], "unit": "jobs/s", "verified": verified}

    async def _pickup(self, database: Database) -> Result:
        done = await self._command(database.url, "pickup", self._sizes.samples)
        cuts = statistics.quantiles(done["waits_ms"], n=100, method="inclusive")
        verified = done["is_exactly_once"] and await self._left(database) == 0
        return {"jobs": self._sizes.samples, "value": cuts[49], "unit": "ms", "verified": verified,
                "p50": cuts[49], "p99": cuts[98]}  # fmt: skip

    async def _sustained(self, database: Database) -> Result:
        async with (
            self._adapter("sustained", self._sizes.seconds, self._peer.lead, url=database.url) as feeder,
            self._adapter("work", 0, url=database.url) as worker,
        ):
            await asyncio.gather(feeder.expect("ready"), worker.expect("ready"))
            for each in (worker, feeder):
                each.tell("go")
            jobs = await self._feed(feeder, worker)
            ended = time.time()
            drained = await self._finish(database, [worker], jobs)
        quarters = _quarter_rates(drained.history, drained.started, ended)
        return {
            "jobs": jobs,
            "value": quarters[-1],
            "unit": "jobs/s",
            "verified": drained.is_exactly_once(jobs),
            "first_quarter": quarters[0],
            "last_quarter": quarters[-1],
            "seconds": self._sizes.seconds,
        }

    async def _wal_per_job(self, database: Database) -> Result:
        jobs = self._sizes.jobs
        await self._admin.execute("checkpoint")
        before = await self._admin.fetchval("select pg_current_wal_insert_lsn()::text")
        await self._command(database.url, "enqueue", jobs, "bulk")
        drained = await self._work(database, jobs, processes=1)
        written = await self._admin.fetchval("select pg_current_wal_insert_lsn() - $1::text::pg_lsn", before)
        verified = drained.is_exactly_once(jobs)
        return {"jobs": jobs, "value": float(written) / jobs, "unit": "bytes/job", "verified": verified}

    async def _feed(self, feeder: Adapter, worker: Adapter) -> int:
        """Tell the feeder how far the worker is until it has fed long enough; returns how many jobs it enqueued."""
        began = time.monotonic()
        feeding = asyncio.create_task(feeder.expect("done"))
        try:
            while not feeding.done():
                worker.check()
                feeder.tell(f"done {worker.seen}")
                self._progress("seconds fed", int(time.monotonic() - began), int(self._sizes.seconds))
                await asyncio.wait([feeding], timeout=LOOK_S)
            return int(feeding.result()["jobs"])
        finally:
            feeding.cancel()

    async def _work(self, database: Database, jobs: int, processes: int) -> Drained:
        async with contextlib.AsyncExitStack() as stack:
            starts = [self._adapter("work", jobs, url=database.url) for _ in range(processes)]
            workers = [await stack.enter_async_context(start) for start in starts]
            for worker in workers:
                await worker.expect("ready")
            for worker in workers:
                worker.tell("go")
            return await self._finish(database, workers, jobs)

    async def _finish(self, database: Database, workers: list[Adapter], jobs: int) -> Drained:
        """Wait until every job was handled and its outcome recorded, then end the workers."""
        known, changed = (-1, -1), time.monotonic()
        while known != (jobs, 0):
            for worker in workers:
                worker.check()
            handled = sum(worker.seen for worker in workers)
            state = (handled, await self._left(database) if handled >= jobs else jobs)
            if state != known:
                known, changed = state, time.monotonic()
            if handled > jobs:
                raise workers[0].failure(f"ran {handled} jobs, but only {jobs} were enqueued")
            if time.monotonic() - changed > STALL_S:
                raise workers[0].failure(f"is stuck: {handled} of {jobs} jobs handled, {state[1]} not recorded as done")
            self._progress("jobs handled", handled, jobs)
            if state != (jobs, 0):
                await asyncio.sleep(LOOK_S)
        settled = time.time()
        for worker in workers:
            worker.tell("stop")
        return Drained(settled, [await worker.expect("done") for worker in workers], workers[0].history)

    async def _command(self, url: str, *args: object) -> dict[str, Any]:
        async with self._adapter(*args, url=url) as adapter:
            return await adapter.expect("done")

    @contextlib.asynccontextmanager
    async def _adapter(self, *args: object, url: str) -> AsyncIterator[Adapter]:
        async with running(self._peer, *args, url=url, deadline_s=self._sizes.deadline_s) as adapter:
            yield adapter
            self.about = adapter.about

    @contextlib.asynccontextmanager
    async def _database(self) -> AsyncIterator[Database]:
        name = f"trunkline_bench_{self._peer.name.replace('-', '_')}_{os.getpid()}"
        await self._admin.execute(f"create database {name}")
        try:
            url = urlunsplit(urlsplit(self._url)._replace(path=f"/{name}"))
            await self._command(url, "setup")
            looking = await asyncpg.connect(url)
            try:
                yield Database(url, looking)
            finally:
                await looking.close()
        finally:
            await self._admin.execute(f"drop database {name} with (force)")

    async def _left(self, database: Database) -> int:
        return int(await database.looking.fetchval(self._peer.left_sql))


def _quarter_rates(history: list[tuple[float, int]], began: float, ended: float) -> list[float]:
    """Jobs/s in each quarter of the time from `began` to `ended`."""
    quarter_s = (ended - began) / 4
    marks = [_handled_by(history, began + quarter_s * n) for n in range(5)]
    return [(later - earlier) / quarter_s for earlier, later in itertools.pairwise(marks)]


def _handled_by(history: list[tuple[float, int]], moment: float) -> float:
    """How many jobs were handled by `moment`, on a straight line between two reports."""
    before_at, before = history[0][0], 0
    for at, count in history:
        if at >= moment:
            share = (moment - before_at) / (at - before_at) if at > before_at else 0.0
            return before + (count - before) * max(0.0, share)
        before_at, before = at, count
    return float(before)
