"""Follow jobs as they go, from any process; say something about them; read the life of one afterwards.

python examples/watching.py
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from trunkline import Job, Trunkline
from trunkline.realtime import Event

app = Trunkline()


@app.job("import-orders")
async def import_orders(job: Job, rows: int) -> dict[str, int]:
    await job.progress(50, "half of it")
    await app.updates.emit_job_update(job.id, "checking", {"rows": rows})
    return {"imported": rows}


async def main() -> None:
    async with app:
        stream, done = await app.stream(), asyncio.Event()

        def hear(burst: Sequence[Event]) -> None:  # called on the event loop with each burst of committed events
            for event in burst:
                print(event.job_id, event.status, event.data.decode())
                if event.is_terminal:
                    done.set()

        stream.subscribe(hear)
        unwatch = stream.watch(tenant := await app.tenant_id(None))
        await stream.ready(tenant)
        await app.start_worker()
        job_id = await app.enqueue("import-orders", {"rows": 17})
        await asyncio.wait_for(done.wait(), 30)
        unwatch()

        print([entry.status for entry in await app.updates.get_job_history(job_id)])


if __name__ == "__main__":
    asyncio.run(main())
