"""Code for a polling queue, over this one: python examples/compat.py"""

from __future__ import annotations

import asyncio
from typing import Any

from trunkline import Trunkline
from trunkline.compat import QueueFactory


async def crm_sync(payload: dict[str, Any]) -> dict[str, Any]:
    return {"synced": payload["leads"]}


PROCESSORS = {"crm_sync": crm_sync}


async def main() -> None:
    async with Trunkline() as app:
        queue = QueueFactory.get_queue(app)
        added = await queue.add_job("crm_sync", {"leads": 7}, priority=5, idempotency_key="night-1", max_attempts=3)
        print("a second one with its key:", await queue.add_job("crm_sync", {"leads": 7}, idempotency_key="night-1"))
        while (job := await queue.get_next_job(["crm_sync"])) is not None:
            try:
                await queue.complete_job(job.id, await PROCESSORS[job.type](job.payload))
            except Exception as error:  # noqa: BLE001
                print("failed:", await queue.fail_job(job.id, error))
        done = await queue.get_job(added.id)
        print(done.status, done.result)
        await QueueFactory.close()


if __name__ == "__main__":
    asyncio.run(main())
