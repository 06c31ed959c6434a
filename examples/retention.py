"""How long ended jobs are kept, queue by queue: python examples/retention.py

Uses TRUNKLINE_DATABASE_URL, or an embedded PostgreSQL in ./.trunkline (pip install "trunkline[embedded]").
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

from trunkline import Trunkline

app = Trunkline()


@app.job("heartbeat")
async def heartbeat(host: str) -> str:
    return f"{host} is up"


async def main() -> None:
    async with app:
        # Successes are boring after an hour, failures are evidence for a year; cancelled ones follow TRUNKLINE_RETENTION.
        await app.retention.set("heartbeat", completed=timedelta(hours=1), failed=timedelta(days=365))
        await app.start_worker()
        print(await app.wait(await app.enqueue("heartbeat", {"host": "a"}), timeout=30))
        for kept in await app.retention.list():
            print(f"{kept.queue}: completed {kept.completed} s, failed {kept.failed} s")


if __name__ == "__main__":
    asyncio.run(main())
