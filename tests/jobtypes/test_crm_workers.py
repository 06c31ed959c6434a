"""`crm-sync` in real workers: one portal's bucket, and its waits, are everybody's."""

from __future__ import annotations

import sqlite3
import uuid
from pathlib import Path

from tests.jobtypes.portal import TABLE, Portal, refusal, rows
from tests.jobtypes.support import FIRST_KEY
from tests.support.until import until
from trunkline import Trunkline
from trunkline.jobtypes import declare
from trunkline.settings import Settings
from trunkline.testing import DatabaseClock


async def test_two_workers_keep_one_portal_s_bucket_together(trunkline_url: str, tmp_path: Path) -> None:
    """The portal counts for itself: its bucket never ran over, and both syncs are whole."""
    with Portal(bucket=7, leak=10.0) as portal:
        for n in range(1, 700):
            portal.put(n, second=n)
        settings = {"database_url": trunkline_url, "encryption_keys": FIRST_KEY, "connection_hosts": f"{tmp_path},127.0.0.1"}
        tables = [tmp_path / f"{name}.db" for name in "abcd"]
        async with Trunkline(settings=Settings.load({}, **settings)) as one, Trunkline(settings=Settings.load({}, **settings)) as other:
            await one.connections.create(portal.url, name="crm")
            await one.limits.set(key="bitrix24:127.0.0.1", rate=9, burst=1)
            for path in tables:
                with sqlite3.connect(path) as conn:
                    conn.execute(TABLE)
                conn.close()
                await one.connections.create(f"sqlite:///{path}", name=path.stem)
            for app in (one, other):
                declare(app, "crm-sync")
                await app.start_worker(concurrency=2)
            jobs = [
                await one.enqueue("crm-sync", {"connectionId": "crm", "entity": "deal", "targetId": path.stem, "table": "deal"})
                for path in tables
            ]
            results = [await one.wait(job, timeout=60) for job in jobs]

        assert [699] * 4 == [len(rows(path)) for path in tables]
        assert (0, True) == (portal.refused, portal.most_in_bucket <= 7)
        assert len(portal.asked) - 1 == sum(result["requests"] for result in results)  # and the test of the connection


async def test_a_wait_that_the_portal_asks_for_costs_a_worker_no_attempt(portal: Portal, crm: Trunkline, table: Path) -> None:
    """A job that may fail once only waits as often as it must, is not even sent while the key is shut, and then brings everything."""
    await crm.connections.create(portal.url, name="crm")
    await crm.connections.create(f"sqlite:///{table}", name="shop")
    portal.asked.clear()
    portal.put(1, second=1)
    portal.answer_next(refusal(429, "OPERATION_TIME_LIMIT"))
    payload = {"connectionId": "crm", "entity": "deal", "targetId": "shop", "table": "deal"}
    clock = DatabaseClock(crm.store)
    await crm.start_worker(concurrency=1)  # one after the other: of two at once one would come back later
    job_id = await crm.enqueue("crm-sync", payload, retry_limit=0)
    await until(lambda: waits(crm, job_id), "the portal asked it to wait")
    second = await crm.enqueue("crm-sync", payload, retry_limit=0)
    await until(lambda: waits(crm, second), "another one waits as well")
    asked = list(portal.asked)
    await clock.forward(61)
    results = [await crm.wait(each, timeout=30) for each in (job_id, second)]
    await crm.stop_worker()

    assert ([], [(1, "Deal 1")]) == (asked, rows(table))
    assert [1, 1] == [result["written"] for result in results]
    assert 0 == (await crm.get(job_id)).failures


async def waits(crm: Trunkline, job_id: uuid.UUID) -> bool:
    job = await crm.get(job_id)
    return (job.state, job.failures) == ("retrying", 0)
