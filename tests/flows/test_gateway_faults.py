"""Remote workers and watchers through faults: one journal of what they did, one verdict, and every watcher sees every ending once."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from uuid import UUID

import pytest

from tests.flows.conftest import Children, Server, drained_verdict, statements
from tests.flows.followers import Follower, send_through
from tests.support.journal import Journal
from tests.support.proxy import Proxy
from tests.support.until import until
from trunkline import Trunkline
from trunkline.auth import Tokens
from trunkline.errors import Unavailable
from trunkline.settings import Settings

pytestmark = [pytest.mark.private_server]
TERMINATE = "select pg_terminate_backend(pid) from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()"
CAPACITY = 5
OPTIONS = {"retryLimit": 50, "retryDelay": 0, "expireIn": 4}


class Stage:
    """Two gateways (one behind a proxy), remote workers, watchers, a load; and what can be done to them."""

    def __init__(self, app: Trunkline, server: Server, children: Children, journal: Journal, chance: random.Random, proxy: Proxy) -> None:
        self.app, self.server, self.children, self.journal, self.chance, self.proxy = app, server, children, journal, chance, proxy
        self.pauses = 0

    async def open(self, followers: int) -> None:
        """Everything is up and works."""
        tenant_id = await self.app.tenant_id(None)
        _, self.token = await Tokens(self.app.store).create(tenant_id, scopes=("send", "work", "watch"))
        self.gateways = [self.children.gateway(url) for url in (self.server.url, self.proxy.url)]
        for gateway in self.gateways:
            await gateway.is_up()
        self.ports = [self.journal.of("up", who=gateway.name)[0].more["port"] for gateway in self.gateways]
        self.workers = [self._hire(), self._hire()]
        self.followers = [Follower(self.ports, self.token, self.chance) for _ in range(followers)]
        await until(lambda: all(each.is_following for each in self.followers), "all follow")
        self.going = asyncio.Event()
        self.going.set()
        self.sending = [
            asyncio.create_task(send_through(self.ports, self.token, self.journal, self.chance, self.going, **OPTIONS)) for _ in range(2)
        ]
        await self.more()

    def _hire(self):
        ports = ",".join(map(str, self.chance.sample(self.ports, 2)))
        return self.children.remote(self.server.url, ports=ports, token=self.token, capacity=CAPACITY)

    async def more(self, count: int = 25) -> None:
        """Reports are answered again."""
        await self.journal.wait_for("acked", len(self.journal.of("acked")) + count, within_s=60, what="completed")

    async def kill_worker(self) -> None:
        self.workers.pop().kill()
        self.workers.append(self._hire())

    async def kill_gateway(self) -> None:
        n = self.chance.randrange(2)
        self.gateways[n].kill()
        self.gateways[n] = await self.children.gateway((self.server.url, self.proxy.url)[n], port=self.ports[n]).is_up()

    async def crash_database(self) -> None:
        await self.server.crash()
        await self.server.start()

    async def terminate_backends(self) -> None:
        await statements(self.server.embedded.url, TERMINATE)

    async def drop_notifications(self) -> None:
        self.proxy.mute()
        await self.more()
        self.proxy.mute(False)

    async def stop_worker(self) -> None:
        """SIGSTOP past the time of what it holds; it wakes, and what it reports then is not its own any more."""
        stopped = self.workers[0]
        stopped.pause()
        self.pauses += CAPACITY  # what it was sent and had not read may start late
        stuck = await until(lambda: self._leases("claimed_at < clock_timestamp() - interval '2 seconds'"), "it holds something")
        still = "(job_id, attempt) in (select * from unnest($1::uuid[], $2::int[]))"
        await until(lambda: self._none_of(still, stuck), "what it held is somebody else's")
        stopped.wake()

    async def _leases(self, which: str, *values: object) -> list[tuple[UUID, int]] | None:
        """None: the database is away, which the other faults see to."""
        try:
            return [tuple(row) for row in await self.app.store.fetch(f"select job_id, attempt from trunkline.lease where {which}", *values)]
        except Unavailable:
            return None

    async def _none_of(self, which: str, pairs: list[tuple[UUID, int]]) -> bool:
        return await self._leases(which, [each[0] for each in pairs], [each[1] for each in pairs]) == []

    async def end(self) -> None:
        """No job lives; all promises held; every watcher saw every ending once, as it is."""
        self.going.clear()
        await asyncio.gather(*self.sending)
        for child in self.children.all:
            said = child.output.read_text(errors="replace")
            wrong = [line for line in said.splitlines() if "[error" in line or "[critical" in line or "never retrieved" in line]
            assert [] == wrong, said[-4000:]
        verdict = await drained_verdict(self.journal, self.server.url, pauses=self.pauses)
        expected = {(str(job.id), job.state): 1 for job in verdict.jobs.values()}
        assert len(expected) > 50
        for follower in self.followers:
            await until(lambda follower=follower: len(follower.endings()) >= len(expected), "it has seen every ending")
            seen = follower.endings()
            assert expected == dict(seen), seen - Counter(expected)
            assert 0 == follower.lost
            follower.task.cancel()
        await asyncio.gather(*(follower.task for follower in self.followers), return_exceptions=True)


FAULTS: dict[str, Callable[[Stage], Awaitable[None]]] = {
    each.__name__: each
    for each in (
        Stage.kill_gateway,
        Stage.kill_worker,
        Stage.terminate_backends,
        Stage.drop_notifications,
        Stage.crash_database,
        Stage.stop_worker,
    )
}


@pytest.fixture
async def stage(server, children, journal, chance, through):
    """Not yet open."""
    async with Trunkline(settings=Settings.load({}, database_url=server.url)) as app:
        stage = Stage(app, server, children, journal, chance, through(server.url))
        yield stage
        for follower in getattr(stage, "followers", ()):
            follower.task.cancel()
        for task in getattr(stage, "sending", ()):
            task.cancel()


async def test_one_fault_after_another_and_every_watcher_sees_every_ending_once(stage):
    """kill -9 of a remote worker and of a gateway, PostgreSQL stopped at once, all backends gone, no notifications, a worker asleep."""
    await stage.open(followers=20)
    began = time.monotonic()
    asleep = asyncio.create_task(stage.stop_worker())  # it takes its time
    for name, fault in FAULTS.items():
        if name != "stop_worker":
            await fault(stage)
            await stage.more()
            print(f"{time.monotonic() - began:5.1f} s: {name}")
    await asleep
    print(f"{time.monotonic() - began:5.1f} s: stop_worker")
    await stage.more()
    await stage.end()


@pytest.mark.chaos
@pytest.mark.timeout(600)
async def test_many_faults_in_any_order(stage):
    """With 200 watchers."""
    await stage.open(followers=200)
    for _ in range(20):
        await stage.chance.choice(list(FAULTS.values()))(stage)
        await stage.more()
    await stage.end()
