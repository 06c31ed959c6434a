"""The same client for programs without an event loop: each method waits. One thread runs the loop, for all threads that call.

with trunkline.client.blocking.connect("wss://jobs.example.com", token) as client:
    print(client.wait(client.send("resize", {"path": "a.png"}), timeout=30))
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, TypeVar
from uuid import UUID

from trunkline.client import client as asynchronous
from trunkline.client.batch import Batch as AsyncBatch
from trunkline.client.dialing import Token
from trunkline.client.options import Given
from trunkline.client.watching import Update
from trunkline.errors import InvalidInput
from trunkline.wire.answers import BatchEnded, Job, ScheduleView

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


def connect(url: str, token: Token, **how: Any) -> Client:
    """As `trunkline.client.connect`: `with connect(...) as client:`."""
    return Client(asynchronous.connect(url, token, **how))


class Batch:
    """As `trunkline.client.Batch`."""

    def __init__(self, batch: AsyncBatch, client: Client) -> None:
        self.id, self.job_ids = batch.id, batch.job_ids
        self._batch, self._client = batch, client

    def counts(self) -> BatchEnded:
        """How far it is."""
        return self._client._wait(self._batch.counts())

    def wait(self, timeout: float | None = None) -> BatchEnded:
        """The counts, as soon as every job has ended."""
        return self._client._wait(self._batch.wait(timeout))


class Client:
    """As `trunkline.client.Client`, method for method; use it from any thread."""

    def __init__(self, client: asynchronous.Client) -> None:
        self._client = client
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="trunkline-client", daemon=True)
        self._thread.start()
        try:
            self._wait(self._client.open())
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect, and end the thread. Twice is once."""
        loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return
        self._wait(self._client.close())
        self._loop = self._thread = None
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        if self._loop is None:
            work.close()
            raise InvalidInput("the client is not open: use `with connect(...) as client`.")
        under_way = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return under_way.result()
        except BaseException:
            under_way.cancel()
            raise

    def send(self, name: str, payload: Any = None, **options: Any) -> UUID | None:
        """Put one job in; its id."""
        return self._wait(self._client.send(name, payload, **options))

    def send_many(self, jobs: Iterable[Given]) -> list[UUID | None]:
        """Put jobs in; their ids, in order."""
        return self._wait(self._client.send_many(jobs))

    def batch(self, jobs: Iterable[Given]) -> Batch:
        """Put jobs in, all or none, to be awaited together."""
        return Batch(self._wait(self._client.batch(jobs)), self)

    def get(self, job_id: UUID | str) -> Job:
        """Where a job stands."""
        return self._wait(self._client.get(job_id))

    def wait(self, job_id: UUID | str, timeout: float | None = None) -> Any:
        """The result of a job, as soon as it has ended."""
        return self._wait(self._client.wait(job_id, timeout))

    def watch(self, job_id: UUID | str) -> Iterator[Update]:
        """Where a job stands now, then what becomes of it, to its end."""
        updates = self._client.watch(job_id)

        async def step() -> Update | None:
            return await anext(updates, None)

        try:
            while (update := self._wait(step())) is not None:
                yield update
        finally:
            with suppress(InvalidInput):  # it is closed already
                self._wait(_closed(updates))

    def cancel(self, job_id: UUID | str) -> bool:
        """Cancel a job; False: it had already ended."""
        return self._wait(self._client.cancel(job_id))

    def queue_size(self, name: str, before: str = "active") -> int:
        """Jobs of a name in states before `before`."""
        return self._wait(self._client.queue_size(name, before))

    def schedule(self, name: str, cron: str, payload: Any = None, *, tz: str = "UTC", **options: Any) -> str:
        """Send a job of that name at each time of a cron pattern."""
        return self._wait(self._client.schedule(name, cron, payload, tz=tz, **options))

    def unschedule(self, name: str) -> None:
        """End a schedule."""
        self._wait(self._client.unschedule(name))

    def schedules(self) -> list[ScheduleView]:
        """The tenant's schedules."""
        return self._wait(self._client.schedules())

    def worker(self, name: str, *, concurrency: int = 1) -> Callable[[F], F]:
        """Declare what is done with jobs of a name."""
        return self._client.worker(name, concurrency=concurrency)

    def work(self) -> None:
        """Work on jobs until `stop`, SIGTERM or Ctrl-C."""
        is_main = threading.current_thread() is threading.main_thread()
        before = {name: signal.signal(name, lambda *_: self.stop()) for name in (signal.SIGTERM, signal.SIGINT)} if is_main else {}
        try:
            self._wait(self._client.work(signals=False))
        finally:
            for name, handler in before.items():
                signal.signal(name, handler)

    def stop(self) -> None:
        """End `work`; from any thread, or a signal."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._client.stop)


async def _closed(updates: Any) -> None:
    await updates.aclose()
