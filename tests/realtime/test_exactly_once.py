"""Random interleavings: writers that commit late, roll back and use savepoints; clients that go away amid a burst and come back elsewhere."""

from __future__ import annotations

import random
from itertools import count, pairwise

import pytest

from trunkline.realtime import EVERYONE, Event, Replayed

STEPS = 70
SAY = "select trunkline.broadcast($1, $2, $3)"


class Writer:
    """A connection with at most one transaction; it says numbers."""

    def __init__(self, conn, tenant_id: int) -> None:
        self.conn, self.tenant_id = conn, tenant_id
        self.open = None
        self.said: list[int] = []

    async def say(self, n: int, *, in_savepoint: bool) -> None:
        if self.open is None:
            self.open = self.conn.transaction()
            await self.open.start()
        if in_savepoint:
            async with self.conn.transaction():
                await self.conn.execute(SAY, self.tenant_id, "n", str(n))
        else:
            await self.conn.execute(SAY, self.tenant_id, "n", str(n))
        self.said.append(n)

    async def end(self, *, commits: bool) -> list[int]:
        """What was committed."""
        if self.open is None:
            return []
        await (self.open.commit() if commits else self.open.rollback())
        said, self.open, self.said = self.said, None, []
        return said if commits else []


class Client:
    """Keeps what it received and the offset to come back with."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.began = ""
        self.leave = lambda: None

    @property
    def numbers(self) -> list[int]:
        return [int(event.data) for event in self.events]

    async def connect(self, told, tenant_id: int) -> None:
        """For the first time."""
        await told.stream.ready(tenant_id)
        self.began = told.stream.offset(tenant_id)
        self.leave = told.stream.subscribe(self.events.extend)

    async def come_back(self, told, tenant_id: int, lost: int) -> None:
        """The last `lost` events were on their way when it went."""
        self.leave()
        del self.events[len(self.events) - min(lost, len(self.events)) :]
        offset = self.events[-1].offset if self.events else self.began
        held: list[Event] = []

        def join() -> None:
            self.leave = told.stream.subscribe(held.extend)

        replayed = await told.stream.replay(tenant_id, offset, [EVERYONE], join=join)
        assert isinstance(replayed, Replayed), replayed
        self.leave()
        self.events += [*replayed.events, *held]
        self.began = self.began if self.events else replayed.offset
        self.leave = told.stream.subscribe(self.events.extend)


@pytest.mark.parametrize("seed", range(6))
async def test_each_event_is_received_exactly_once(queue, open_stream, sessions, seed):
    """By every client, with the order of each transaction kept."""
    chance, numbers, tenant_id = random.Random(seed), count(1), queue.tenant_id
    streams = [await open_stream(tenant_id, listens=n == 0) for n in range(2)]
    writers = [Writer(await sessions.connect(), tenant_id) for _ in range(4)]
    clients = [Client() for _ in range(3)]
    for client in clients:
        await client.connect(chance.choice(streams), tenant_id)
    committed: list[list[int]] = []
    for _ in range(STEPS):
        step, writer = chance.random(), chance.choice(writers)
        if step < 0.5:
            for _ in range(chance.randint(1, 4)):
                await writer.say(next(numbers), in_savepoint=chance.random() < 0.3)
        elif step < 0.7:
            committed.append(await writer.end(commits=chance.random() < 0.8))
        elif step < 0.85:
            await chance.choice(streams).caught_up(tenant_id)
        else:
            await chance.choice(clients).come_back(chance.choice(streams), tenant_id, chance.choice((0, 0, 1, 2, 5, 100)))
    committed += [await writer.end(commits=True) for writer in writers]
    for told in streams:
        await told.caught_up(tenant_id)

    everything = sorted(n for said in committed for n in said)
    for client in clients:
        assert everything == sorted(client.numbers)
        at = {n: i for i, n in enumerate(client.numbers)}
        assert all(at[a] < at[b] for said in committed for a, b in pairwise(said))
