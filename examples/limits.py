"""Limits: two at once for each account, a provider that says "wait", strict order, and a pause. python examples/limits.py

Uses TRUNKLINE_DATABASE_URL, or an embedded PostgreSQL in ./.trunkline (pip install "trunkline[embedded]").
"""

from __future__ import annotations

import asyncio
from collections import Counter

from trunkline import Job, RetryAfter, Trunkline

app = Trunkline()
running: Counter[str] = Counter()
most: Counter[str] = Counter()
steps: list[int] = []


@app.job("call-provider", key_concurrency=2)
async def call_provider(job: Job, account: str, flooded: bool = False) -> None:
    if flooded and job.attempt == 1:
        raise RetryAfter(0.3, "FLOOD_WAIT", key=True)  # nothing of this account starts before; no failure is counted
    running[account] += 1
    most[account] = max(most[account], running[account])
    await asyncio.sleep(0.01)
    running[account] -= 1


@app.job("apply-step")
async def apply_step(n: int) -> None:
    steps.append(n)


async def main() -> None:
    async with app:
        await app.start_worker(concurrency=20)
        await app.limits.set(key="small", concurrency=1, rate=50, burst=5)  # this key's own bounds, instead of the kind's
        calls = [
            await app.enqueue("call-provider", {"account": account, "flooded": n == 0}, limit_key=account)
            for account in ("large", "small")
            for n in range(10)
        ]
        order = [await app.enqueue("apply-step", {"n": n}, ordering_key="order-17", priority=n) for n in range(5)]
        for job_id in calls + order:
            await app.wait(job_id, timeout=30)
        print("at once:", dict(most), "in order:", steps)

        await app.limits.pause(kind="apply-step")  # from here on none starts, in any process
        waiting = await app.enqueue("apply-step", {"n": 5}, ordering_key="order-17")
        await app.limits.resume(kind="apply-step")
        await app.wait(waiting, timeout=30)
        print("after the pause:", steps[-1])


if __name__ == "__main__":
    asyncio.run(main())
