"""Middleware around every attempt, and observers of what became of it.

python examples/middleware.py
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest

from trunkline import Job, JobEvent, Metrics, RetryAfter, Trunkline

app = Trunkline()
registry = CollectorRegistry()
app.middleware(Metrics(registry))


class TooManyRequests(Exception):
    pass


@app.middleware
async def be_polite(job: Job, proceed: Callable[[], Awaitable[Any]]) -> Any:
    """One place for what every handler of this application would repeat."""
    began = time.perf_counter()
    try:
        return await proceed()
    except TooManyRequests as error:
        raise RetryAfter(0.05, "the provider is busy") from error
    finally:
        print(f"{job.kind} attempt {job.attempt}: {(time.perf_counter() - began) * 1000:.0f} ms")


@app.on("completed")
@app.on("snoozed")
async def tell(event: JobEvent) -> None:
    print(f"{event.name}: {event.job.kind}")


@app.job("fetch-page")
async def fetch_page(job: Job, url: str) -> str:
    if job.attempt == 1:
        raise TooManyRequests
    return f"the text of {url}"


async def main() -> None:
    async with app:
        await app.start_worker()
        print(await app.wait(await app.enqueue("fetch-page", {"url": "https://example.com"}), timeout=30))
        await app.stop_worker()
    print(next(line for line in generate_latest(registry).decode().splitlines() if line.startswith("trunkline_jobs_completed_total")))


if __name__ == "__main__":
    asyncio.run(main())
