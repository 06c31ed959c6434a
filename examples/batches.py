"""Forty thumbnails as one batch, an album when they are all there, and a report whatever became of them: python examples/batches.py

Uses TRUNKLINE_DATABASE_URL, or an embedded PostgreSQL in ./.trunkline (pip install "trunkline[embedded]").
"""

from __future__ import annotations

import asyncio
from typing import Any

from trunkline import Fail, Job, Trunkline, new_job

app = Trunkline()


@app.job("thumbnail", retry_limit=0)
async def thumbnail(path: str) -> dict[str, str]:
    if path == "13.png":
        raise Fail("that is no picture")
    return {"thumbnail": f"small/{path}"}


@app.job("publish")
async def publish(job: Job, album: str) -> dict[str, Any]:
    return {"album": album, "pictures": (job.batch or {})["completed"]}


@app.job("report")
async def report(job: Job) -> dict[str, Any]:
    return {"failed": (job.batch or {})["failed"]}


async def main() -> None:
    async with app:
        await app.start_worker(concurrency=20)

        # All forty or none; the callback comes when the last one has completed.
        pictures = [("thumbnail", {"path": f"{n}.png"}) for n in range(14, 54)]
        sent = await app.batches.send(pictures, on_success=new_job("publish", {"album": "summer"}), name="summer")
        batch = await app.batches.wait(sent.id, timeout=30)
        assert batch.success_job is not None
        print(await app.wait(batch.success_job, timeout=30))

        # As they come: jobs run while more are added, and leaving the block says that this was all.
        async with app.batches.open(on_success="publish", on_complete="report") as filling:
            for n in range(12, 15):
                await filling.add([("thumbnail", {"path": f"{n}.png"})])
        batch = await app.batches.wait(filling.id, timeout=30)
        assert batch.complete_job is not None
        print(await app.wait(batch.complete_job, timeout=30))
        for job in (await app.batches.failed(batch.id)).jobs:
            print(job.payload["path"], "failed:", job.error["message"])


if __name__ == "__main__":
    asyncio.run(main())
