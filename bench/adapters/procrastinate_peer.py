"""procrastinate. Settings, each from its own documentation:

- concurrency=30, the value shown in "Execute multiple jobs at the same time" (docs/howto/production/concurrency),
  whose other advice, more worker processes, is what drain_two measures.
- a pool as large as the concurrency, so no finished job waits for a connection (PsycopgConnector passes `min_size`
  and `max_size` to its pool, docs/howto/basics/connector.md).
- batch_defer_async() for many jobs (docs/howto/basics/batch_defer.md), defer_async() for one; of 100, 500, 1000 and
  5000 jobs a call, 5000 was fastest.
- listen_notify stays on, the default, and wakes an idle worker.

Finished jobs and their events stay in the tables (delete_jobs="never", the default). A worker fetches one job a
statement and records each alone, which is what its figures show.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from importlib.metadata import version
from types import MappingProxyType

from harness import Handled, in_background, main
from procrastinate import App, PsycopgConnector

QUEUE = "bench"
URL = os.environ.get("BENCH_DATABASE_URL", "")
CONCURRENCY = 30
CONNECTIONS = CONCURRENCY + 2  # and one to fetch, one to keep the worker's heartbeat


async def _open(connections: int) -> App:
    app = App(connector=PsycopgConnector(conninfo=URL, min_size=connections, max_size=connections))
    await app.open_async()
    return app


class ProcrastinateProducer:
    """Defers over one connection."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._job = app.configure_task("bench", queue=QUEUE, allow_unknown=True)

    async def bulk(self, ns: list[int]) -> object:
        return await self._job.batch_defer_async(*[{"n": n} for n in ns])

    async def single(self, n: int) -> object:
        return await self._job.defer_async(n=n)

    async def close(self) -> None:
        await self._app.close_async()


class ProcrastinateWorker:
    """One worker with sub-workers."""

    def __init__(self, app: App, handled: Handled) -> None:
        self._app = app
        self._running: asyncio.Task[object] | None = None

        @app.task(name="bench", queue=QUEUE)
        async def bench(n: int) -> None:
            handled(n)

    async def start(self) -> None:
        work = self._app.run_worker_async(queues=[QUEUE], concurrency=CONCURRENCY, install_signal_handlers=False)
        self._running = in_background(work)

    async def stop(self) -> None:
        if self._running:
            self._running.cancel()  # the documented request to stop gracefully
            await asyncio.gather(self._running, return_exceptions=True)
        await self._app.close_async()


class Procrastinate:
    """The peer."""

    version = version("procrastinate")
    settings: Mapping[str, object] = MappingProxyType({"concurrency": CONCURRENCY, "pool": CONNECTIONS, "delete_jobs": "never"})
    batch = 5000

    async def setup(self) -> None:
        app = await _open(1)
        await app.schema_manager.apply_schema_async()
        await app.close_async()

    async def producer(self) -> ProcrastinateProducer:
        return ProcrastinateProducer(await _open(1))

    async def worker(self, handled: Handled) -> ProcrastinateWorker:
        return ProcrastinateWorker(await _open(CONNECTIONS), handled)


if __name__ == "__main__":
    main(Procrastinate())
