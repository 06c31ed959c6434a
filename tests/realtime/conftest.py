"""Streams on a test's database, and what they told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from tests.support.sessions import Sessions
from tests.support.until import WITHIN_S, until
from trunkline.realtime import Event, Stream
from trunkline.settings import Settings
from trunkline.store import Signals, Store


class Told:
    """A stream with a hearer that keeps everything."""

    def __init__(self, stream: Stream, signals: Signals) -> None:
        self.stream, self.signals = stream, signals
        self.events: list[Event] = []
        self.bursts: list[int] = []
        stream.subscribe(self._hear)

    def _hear(self, burst) -> None:
        self.events += burst
        self.bursts.append(len(burst))

    def whats(self, job_id=None) -> list[str]:
        """What was told, in order, of one job or of all."""
        return [event.what for event in self.events if job_id in (None, event.job_id)]

    async def until(self, count: int) -> list[Event]:
        """The events, once `count` of them are there."""
        await until(lambda: len(self.events) >= count, f"{count} events; there is {self.whats()}")
        return self.events

    async def caught_up(self, tenant_id: int) -> list[Event]:
        """The events, after a read that began now."""
        await self.stream._caught_up(self.stream._tenants[tenant_id], 10)
        return self.events

    def offset_of(self, what: str) -> str:
        """The offset of the first event of this sort."""
        return next(event.offset for event in self.events if event.what == what)


Open = Callable[..., Awaitable[Told]]


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A replay may wait for its read as long as tests wait for anything: five seconds are a promise to clients, not to a busy machine."""
    monkeypatch.setattr("trunkline.realtime.stream.READY_S", WITHIN_S)


@pytest.fixture
async def open_stream(trunkline_url: str) -> AsyncIterator[Open]:
    """Start a stream as another process has one: a pool, a LISTEN connection and a reader of its own; it watches `tenants`."""
    async with AsyncExitStack() as stack:

        async def start(*tenants: int, window_s: float = 120.0, listens: bool = True) -> Told:
            settings = Settings.load({}, database_url=trunkline_url)
            store = await Store.connect(settings)
            stack.push_async_callback(store.close)
            signals = Signals(settings)
            if listens:
                running = asyncio.create_task(signals.run())
                stack.callback(running.cancel)
                await signals.connected.wait()
            told = Told(Stream(store, signals.subscribe, window_s=window_s), signals)
            await told.stream.start()
            stack.push_async_callback(told.stream.stop)
            for tenant_id in tenants:
                told.stream.watch(tenant_id)
                await told.stream.ready(tenant_id, WITHIN_S)
            return told

        yield start


@pytest.fixture
async def sessions(trunkline_url, store) -> AsyncIterator[Sessions]:
    """Connections of its own for a test."""
    made = Sessions(trunkline_url, store)
    yield made
    await made.close()
