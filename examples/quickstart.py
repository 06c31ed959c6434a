"""A job, a worker and a result in one process: python examples/quickstart.py

Uses TRUNKLINE_DATABASE_URL, or an embedded PostgreSQL in ./.trunkline (pip install "trunkline[embedded]").
"""

from __future__ import annotations

import asyncio
from typing import Any

from trunkline import Job, Trunkline

app = Trunkline()


@app.job("resize", retry_limit=3, retry_delay=5, timeout=60)
async def resize(job: Job, path: str, width: int = 800) -> dict[str, Any]:
    await job.progress(50, "halfway")
    return {"path": path, "width": width}


async def main() -> None:
    async with app:
        await app.start_worker()
        job_id = await app.enqueue("resize", {"path": "a.png"})
        print(await app.wait(job_id, timeout=30))


if __name__ == "__main__":
    asyncio.run(main())
