"""Three tenants, one worker, shares by weight: python examples/fairness.py

Uses TRUNKLINE_DATABASE_URL, or an embedded PostgreSQL in ./.trunkline (pip install "trunkline[embedded]").
"""

from __future__ import annotations

import asyncio
from collections import Counter

from trunkline import Job, Trunkline, new_job

app = Trunkline()
started: list[int] = []


@app.job("render", tenants="all")
async def render(job: Job, page: int) -> None:
    started.append(job.tenant_id)
    await asyncio.sleep(0.01)


async def main() -> None:
    async with app:
        ids = {}
        for tenant, jobs in (("gold", 300), ("free", 300), ("tiny", 1)):
            await app.enqueue_many([new_job("render", {"page": page}) for page in range(jobs)], tenant=tenant)
            ids[await app.tenant_id(tenant)] = tenant
        await app.tenants.set_weight("gold", 3)  # three shares; everybody else has one

        await app.start_worker(concurrency=8)
        while len(started) < 400:  # noqa: ASYNC110 - to look on is all that this example does
            await asyncio.sleep(0.01)
        first = Counter(ids[tenant_id] for tenant_id in started[:200])
        place = [ids[tenant_id] for tenant_id in started].index("tiny") + 1
        print(f"of the first 200 starts {first['gold']} were gold's and {first['free']} free's; tiny's only job was number {place}")


if __name__ == "__main__":
    asyncio.run(main())
