"""Worker processes of ours: the public API, a no-op handler, and the settings we would give somebody in a hurry.

The handler reads its payload, as every handler does and the peers' do, and notes the number in it.
"""

from __future__ import annotations

import asyncio
import time

from trunkline import Job, Trunkline
from trunkline.measure.child import Parent
from trunkline.measure.tally import Tally
from trunkline.measure.usage import rss_mb
from trunkline.settings import Settings

KIND = "bench"
CONCURRENCY = 1000  # past this many no-op jobs at once, throughput does not grow
SLOTS = 10  # of a worker that is shared
LOOK_S = 0.005  # how exactly the end of a drain is seen: a drain takes half a second or more
SAY_S = 0.02  # how often the parent hears how far it is


def application(url: str) -> Trunkline:
    """An application that this host's TRUNKLINE_ variables do not change."""
    return Trunkline(settings=Settings.load({}, database_url=url, concurrency=CONCURRENCY))


async def work(parent: Parent, url: str, *, jobs: int) -> None:
    """Run jobs until told to stop. `jobs`: about how many there will be."""
    tally = Tally(jobs)
    app = application(url)

    @app.job(KIND)
    async def bench(job: Job) -> None:
        tally.add(job.payload["n"])

    await app.open()
    parent.say("ready")
    await parent.expect("go")
    worker = await app.start_worker()  # session, LISTEN and kinds are there when it returns; nothing was claimed yet
    began, cpu_before = time.monotonic(), time.process_time()
    ended, cpu_s, known, said = began, 0.0, (0, 0), ((0, 0), began)
    stop = asyncio.create_task(parent.expect("stop"))
    while not stop.done():
        now = (tally.count, worker.counts.total("completed"))
        if now != known:
            known, ended, cpu_s = now, time.monotonic(), time.process_time() - cpu_before
        if known != said[0] and time.monotonic() - said[1] > SAY_S:
            said = (known, time.monotonic())
            parent.say("seen", at=ended, handled=known[0], recorded=known[1])
        await asyncio.wait([stop], timeout=LOOK_S)
    await stop
    await app.close()
    parent.say("done", began=began, ended=ended, cpu_s=cpu_s, **tally.summary())


async def answer(parent: Parent, url: str) -> None:
    """Say when each handler began, until told to stop."""
    app = application(url)

    @app.job(KIND)
    async def bench(job: Job) -> None:
        at = time.monotonic_ns()
        parent.say("began", n=job.payload["n"], at=at)

    await app.start_worker()
    parent.say("ready")
    await parent.expect("stop")
    await app.close()
    parent.say("done")


async def hold(parent: Parent, url: str, *, jobs: int) -> None:
    """Let `jobs` handlers wait for one event, say how much memory they take, then let them end."""
    tally = Tally(jobs)
    may_end = asyncio.Event()
    app = application(url)

    @app.job(KIND)
    async def bench(job: Job) -> None:
        await may_end.wait()
        tally.add(job.payload["n"])

    await app.open()
    before_mb = rss_mb()
    worker = await app.start_worker(concurrency=jobs)
    while worker.running < jobs:
        parent.say("seen", at=time.monotonic(), handled=worker.running, recorded=0)
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.5)  # nothing is claimed any more; what the last claim needed is free again
    parent.say("holding", before_mb=before_mb, rss_mb=rss_mb())
    may_end.set()
    while worker.counts.total("completed") < jobs:
        parent.say("seen", at=time.monotonic(), handled=jobs, recorded=worker.counts.total("completed"))
        await asyncio.sleep(0.05)
    await app.close()
    parent.say("done", **tally.summary())


async def share(parent: Parent, url: str, *, large: int) -> None:
    """Serve every tenant with ten slots: say when each handler began, and fail whatever tenant `large` sends."""
    app, failed = application(url), 0

    @app.job(KIND, tenants="all", retry_delay=0, retry_limit=1000)
    async def bench(job: Job) -> None:
        nonlocal failed
        if job.tenant_id == large:
            failed += 1
            raise RuntimeError("again")
        parent.say("began", n=job.payload["n"], at=time.monotonic_ns())

    await app.start_worker(concurrency=SLOTS)
    parent.say("ready")
    stop = asyncio.create_task(parent.expect("stop"))
    while not stop.done():
        parent.say("seen", at=time.monotonic(), handled=failed, recorded=0)
        await asyncio.wait([stop], timeout=SAY_S)
    await app.close()
    parent.say("done")
