"""pgqueuer. Settings, each from its own documentation:

- asyncpg, "roughly 1.7x the throughput of psycopg" (docs/comparisons/benchmarks.md), under uvloop, as its own
  tools/benchmark.py runs; a direct connection and no pool for the QueueManager (docs/guides/performance-tuning.md).
- batch_size raised from 10 for jobs shorter than a second (same guide, "Batch Size"). The guide gives no number: of
  eight pairs tried (10 to 500 jobs, 1 to 5 QueueManagers in the process) one with 500 drained fastest. (The project's
  own benchmark tool runs five with 10, which is half as fast for no-op jobs.)
- `pgq autovac` after installation (same guide, "Quick-Reference Checklist").
- durability stays "durable", the default: the two faster levels lose jobs or history in a crash.
- enqueue() with lists for many jobs; of 1000, 5000 and 20000 jobs a call, 1000 was fastest.

A finished job leaves the queue table; a row of history stays in pgqueuer_log.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from importlib.metadata import version
from types import MappingProxyType

import asyncpg
from harness import Handled, in_background, main
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries

ENTRYPOINT = "bench"
BATCH_SIZE = 500
URL = os.environ.get("BENCH_DATABASE_URL")


class PgqueuerProducer:
    """Enqueues over one asyncpg connection."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self._queries = Queries(AsyncpgDriver(connection))

    async def bulk(self, ns: list[int]) -> object:
        payloads: list[bytes | None] = [json.dumps({"n": n}).encode() for n in ns]
        return await self._queries.enqueue([ENTRYPOINT] * len(ns), payloads, [0] * len(ns))

    async def single(self, n: int) -> object:
        return await self._queries.enqueue(ENTRYPOINT, json.dumps({"n": n}).encode())

    async def close(self) -> None:
        await self._connection.close()


class PgqueuerWorker:
    """One QueueManager on one connection."""

    def __init__(self, connection: asyncpg.Connection, batch_size: int, handled: Handled) -> None:
        self._connection = connection
        self._batch_size = batch_size
        self._pgq = PgQueuer(AsyncpgDriver(connection))
        self._running: asyncio.Task[object] | None = None

        @self._pgq.entrypoint(ENTRYPOINT)
        async def bench(job: Job) -> None:
            handled(json.loads(job.payload or b"")["n"])

    async def start(self) -> None:
        self._running = in_background(self._pgq.run(batch_size=self._batch_size))

    async def stop(self) -> None:
        self._pgq.shutdown.set()
        if self._running:
            await self._running
        await self._connection.close()


class Pgqueuer:
    """The peer."""

    version = version("pgqueuer")
    settings: Mapping[str, object] = MappingProxyType(
        {"driver": "asyncpg", "batch_size": BATCH_SIZE, "autovac": True, "durability": "durable"}
    )
    batch = 1000

    async def setup(self) -> None:
        connection = await asyncpg.connect(URL)
        queries = Queries(AsyncpgDriver(connection))
        await queries.install()
        await queries.optimize_autovacuum()
        await connection.close()

    async def producer(self) -> PgqueuerProducer:
        return PgqueuerProducer(await asyncpg.connect(URL))

    async def worker(self, handled: Handled) -> PgqueuerWorker:
        return PgqueuerWorker(await asyncpg.connect(URL), BATCH_SIZE, handled)


if __name__ == "__main__":
    main(Pgqueuer())
