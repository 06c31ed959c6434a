"""A property test: random families of jobs, random endings, many connections; every job ends as a model of ten lines says.

Each job runs after its parents have ended and never before; whatever the order of reports, the end is the same; the batch they
form counts all of them and calls back once. Repeat one with its seed.
"""

from __future__ import annotations

import asyncio
import json
import random
import time

import pytest

from tests.support.queue import Queue
from tests.support.until import WITHIN_S
from trunkline.engine.patience import patiently
from trunkline.model import NewJob, new_job
from trunkline.model.job import new_id
from trunkline.store import batches, work

JOBS, CONNECTIONS = 150, 5
ENDINGS = ["completed"] * 5 + ["fatal", "cancelled", "lost"]  # lost: offered again, and completed then
STATES = {1: "completed", 2: "failed", 3: "cancelled"}
READY_BEFORE_ITS_PARENTS = """
select r.job_id from trunkline.lease as r join trunkline.job as j on j.tenant_id = r.tenant_id and j.id = r.job_id
 cross join json_array_elements_text(j.options -> 'depends_on') as p (id)
 where not exists (select from trunkline.outcome as o where o.tenant_id = r.tenant_id and o.job_id = p.id::uuid)"""


def family(chance: random.Random, batch_id) -> tuple[list[NewJob], dict, dict]:
    """Jobs of which each may wait for earlier ones; how each would end if it ran; and how each must end."""
    jobs: list[NewJob] = []
    would, must = {}, {}
    for _ in range(JOBS):
        some = [job.id for job in jobs[-40:]]
        parents = chance.sample(some, k=min(len(some), chance.choice([0, 0, 1, 1, 2, 3, 6])))
        policy = chance.choice([None, None, "cancel", "fail", "run"])
        job = new_job("work", batch_id=batch_id, depends_on=parents or None, on_parent_failure=policy, priority=chance.choice([0, 0, 5]))
        jobs.append(job)
        would[job.id] = chance.choice(ENDINGS)
        if policy != "run" and any(must[parent] != "completed" for parent in parents):
            must[job.id] = "failed" if policy == "fail" else "cancelled"
        else:
            must[job.id] = {"fatal": "failed", "cancelled": "cancelled"}.get(would[job.id], "completed")
    return jobs, would, must


@pytest.mark.parametrize("seed", range(6))
async def test_every_family_ends_as_the_model_says(queue: Queue, seed: int):
    """However the reports come."""
    chance = random.Random(seed)
    batch_id = new_id()
    jobs, would, must = family(chance, batch_id)
    callback = json.dumps({"kind": "work", "queue": "calls", "priority": 0, "payload": {}})
    await batches.open_batch(queue.store, queue.tenant_id, batch_id, None, None, callback)
    if seed % 2:
        chance.shuffle(jobs)  # all in one flush, in any order
        await queue.put_jobs(jobs)
        await batches.seal(queue.store, queue.tenant_id, batch_id)
        late: list[NewJob] = []
    else:
        late = jobs  # while others already end
    early: list = []

    async def put() -> None:
        while late:
            several = chance.randint(1, 12)
            flush, late[:] = late[:several], late[several:]
            await patiently(lambda flush=flush: queue.put_jobs(flush), 30)  # a deadlock is repeated, as the engine does
        if not seed % 2:
            await batches.seal(queue.store, queue.tenant_id, batch_id)

    async def run() -> None:
        within = time.monotonic() + WITHIN_S
        while time.monotonic() < within:
            claimed = await queue.claim(chance.randint(1, 9))
            early.extend(await queue.store.fetch(READY_BEFORE_ITS_PARENTS))
            good = [c for c in claimed if would[c.job_id] == "completed" or c.attempt > 1]
            if good:
                await patiently(lambda good=good: queue.complete(*good), 30)
            bad = [c for c in claimed if c not in good]
            if bad:
                await patiently(lambda bad=bad: work.settle(
                    queue.store, queue.tenant_id, [c.job_id for c in bad], [c.attempt for c in bad],
                    [would[c.job_id] for c in bad], [None] * len(bad), [None] * len(bad)), 30)  # fmt: skip
            if not claimed:
                view = await batches.get(queue.store, queue.tenant_id, batch_id)
                if view is not None and view.is_done:
                    return
                await queue.store.fetch("select trunkline.follow_up(null)")

    await asyncio.gather(put(), *(run() for _ in range(CONNECTIONS)))
    ended = {row[0]: STATES[row[1]] for row in await queue.store.fetch("select job_id, state from trunkline.outcome")}
    view = await batches.get(queue.store, queue.tenant_id, batch_id)

    assert must == ended
    assert [] == early
    assert view is not None and (JOBS, 0) == (view.total, view.remaining)
    assert [sum(state == each for state in must.values()) for each in ("completed", "failed", "cancelled")] == [
        view.completed,
        view.failed,
        view.cancelled,
    ]
    assert (0, 0, 1) == (
        await queue.count("dependency"), await queue.count("deferred"), await queue.store.fetchval("select ready from trunkline.queues where name = 'calls'")
    )  # fmt: skip
