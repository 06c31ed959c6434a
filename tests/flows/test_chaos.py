"""The long fault runs (`make chaos`): many faults after one another in an order that a seed decides, and then the checker.

TRUNKLINE_TEST_SEED repeats one run; TRUNKLINE_CHAOS_S and TRUNKLINE_CHAOS_RUNS set how long and how many.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable

import pytest

from tests.flows.conftest import Child, Children, Server, statements
from tests.support.journal import Journal
from tests.support.proxy import Proxy
from tests.support.sender import Sender
from trunkline import Trunkline, new_job
from trunkline.engine.heart import TTL_S
from trunkline.errors import TrunklineError
from trunkline.settings import Settings

RUN_S = float(os.environ.get("TRUNKLINE_CHAOS_S", "60"))
RUNS = int(os.environ.get("TRUNKLINE_CHAOS_RUNS", "4"))
CALM_S = 150.0  # for a queue to drain after the faults
pytestmark = [pytest.mark.chaos, pytest.mark.timeout(RUN_S + 3 * CALM_S)]


class Chaos:
    """Workers behind a proxy, senders beside it, and somebody who breaks things."""

    def __init__(self, server: Server, proxy: Proxy, children: Children, journal: Journal, chance: random.Random) -> None:
        self.server, self.proxy, self.children, self.journal, self.chance = server, proxy, children, journal, chance
        self.workers: list[Child] = []
        self.sent: list = []
        self.pauses = 0
        self.going = True

    async def hire(self) -> None:
        """One more worker, through the proxy or straight."""
        url = self.chance.choice([self.proxy.url, self.server.url])
        flags = {"concurrency": self.chance.choice([1, 5, 50]), "command_timeout": self.chance.choice([3, 30]), "retry_limit": 1000}
        self.workers.append(self.children.worker(url, **flags))

    async def send(self, sender: Sender) -> None:
        """Send anything in any way, and wait for some of it, until told to stop."""
        while self.going:
            kind = self.chance.choice(["noop", "effect", "flaky", "slow", "thread"])
            payload = {"fails": self.chance.randrange(4), "seconds": self.chance.random() * 0.3}
            match self.chance.randrange(6):
                case 0:
                    self.sent += await sender.send_many([new_job("noop") for _ in range(self.chance.choice([20, 300]))])
                case 1:
                    key = f"k{self.chance.randrange(50)}"
                    self.sent.append(await sender.send(kind, payload, **{self.chance.choice(["idempotency_key", "unique_key"]): key}))
                case 2:
                    self.sent.append(await sender.send(kind, payload, delay=self.chance.random() * 3))
                case 3:
                    await sender.see(await sender.send("noop"), timeout_s=CALM_S)
                case _:
                    self.sent.append(await sender.send(kind, payload))

    async def meddle(self, app: Trunkline) -> None:
        """Cancel and retry by hand."""
        while self.going:
            await asyncio.sleep(0.05)
            if not self.sent:
                continue
            job_id = self.chance.choice(self.sent[-20:])
            try:
                if self.chance.random() < 0.7:
                    await app.cancel(job_id)
                else:
                    self.journal.note("retried", job_id)
                    await app.retry(job_id)
            except TrunklineError:
                pass

    def faults(self) -> list[Callable[[], Awaitable[None]]]:
        """Everything that can be broken."""
        return [
            self.kill,
            self.kill_all,
            self.pause,
            self.dismiss,
            self.cut_all,
            self.freeze_present,
            self.freeze,
            self.refuse,
            self.deafen,
            self.lose_statements,
            self.lose_statements,
            self.crash,
            self.terminate_backends,
            self.read_only,
        ]

    def a_worker(self) -> Child:
        return self.workers.pop(self.chance.randrange(len(self.workers)))

    async def kill(self) -> None:
        self.a_worker().kill()
        await self.hire()

    async def kill_all(self) -> None:
        for worker in self.workers:
            worker.kill()
        self.workers.clear()
        for _ in range(3):
            await self.hire()

    async def pause(self) -> None:
        worker = self.a_worker()
        self.pauses += 1
        worker.pause()
        await asyncio.sleep(self.chance.choice([0.5, TTL_S, TTL_S + 5]))
        worker.wake()
        self.workers.append(worker)

    async def dismiss(self) -> None:
        self.a_worker().process.terminate()
        await self.hire()

    async def cut_all(self) -> None:
        self.proxy.cut_all()

    async def freeze_present(self) -> None:
        self.proxy.freeze_present()

    async def freeze(self) -> None:
        self.proxy.freeze()
        await asyncio.sleep(self.chance.choice([1, TTL_S + 2]))
        self.proxy.thaw()

    async def refuse(self) -> None:
        self.proxy.refuse()
        self.proxy.cut_all()
        await asyncio.sleep(self.chance.choice([1, TTL_S + 2]))
        self.proxy.refuse(False)

    async def deafen(self) -> None:
        self.proxy.mute(not self.proxy.is_muted)

    async def lose_statements(self) -> None:
        sql = self.chance.choice(["claim(", "ack_completed", "settle(", "tick(", "enqueue", "COMMIT", "sleep_on", "session"])
        self.proxy.cut(sql=sql, when=self.chance.choice(["before", "during", "after"]), times=self.chance.randrange(1, 6))

    async def crash(self) -> None:
        await self.server.crash()
        await asyncio.sleep(self.chance.choice([0, 2, TTL_S + 1]))
        await self.server.start()

    async def terminate_backends(self) -> None:
        await statements(
            self.server.embedded.url,
            "select pg_terminate_backend(pid) from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()",
        )

    async def read_only(self) -> None:
        await statements(self.server.embedded.url, "alter system set default_transaction_read_only = on", "select pg_reload_conf()")
        await asyncio.sleep(self.chance.choice([1, TTL_S]))
        await self.heal()

    async def heal(self) -> None:
        await statements(
            self.server.embedded.url, "set default_transaction_read_only = off", "alter system reset all", "select pg_reload_conf()"
        )

    async def calm(self) -> None:
        """End every fault, and see to it that somebody works."""
        self.going = False
        self.proxy.refuse(False)
        self.proxy.cut_all()  # what a frozen connection's transaction holds is held until the server hears that its client is gone
        self.proxy.mute(False)
        for _ in range(2):
            await self.hire()


@pytest.mark.parametrize("run", range(RUNS))
async def test_nothing_is_lost_whatever_breaks(run, server, through, children, journal, seed, server_verdict):
    """A minute of faults, one each second or two, under load; then everything drains and every promise is checked."""
    chance = random.Random(f"{seed} {run}")
    chaos = Chaos(server, through(server.url), children, journal, chance)
    end = time.monotonic() + RUN_S
    settings = Settings.load({}, database_url=chaos.proxy.url, command_timeout_s=5)
    async with Trunkline(settings=settings) as app, Trunkline(settings=Settings.load({}, database_url=server.url)) as person:
        for _ in range(3):
            await chaos.hire()
        sender = Sender(app, journal)
        loads = [asyncio.create_task(chaos.send(sender)) for _ in range(8)] + [asyncio.create_task(chaos.meddle(person))]
        while time.monotonic() < end:
            fault = chance.choice(chaos.faults())
            journal.note("fault", name=fault.__name__)
            print(f"{time.monotonic() - end + RUN_S:6.1f} s {fault.__name__}")
            await fault()
            await asyncio.sleep(chance.random() * 3)
        await chaos.calm()
        await asyncio.wait_for(asyncio.gather(*loads), CALM_S)
    final = await server_verdict(within_s=CALM_S, pauses=chaos.pauses)

    assert final.count("completed") > 0
    assert 0 == final.count("failed")


async def test_twenty_kills_in_a_row(sender, children, journal, chance, trunkline_url, verdict):
    """One of three workers dies every time it has started something, twenty times, with work always there."""
    workers = [await children.worker(trunkline_url, concurrency=20, retry_limit=1000).is_up() for _ in range(3)]
    killing = True

    async def keep_sending() -> None:
        while killing:
            await sender.send_each("slow", 200, {"seconds": 0.1}, at_once=20)

    sending = asyncio.create_task(keep_sending())
    for _ in range(20):
        victim = workers.pop(chance.randrange(3))
        await journal.wait_for("started", len(journal.of("started", who=victim.name)) + 20, who=victim.name, within_s=60)
        victim.kill()
        workers.append(await children.worker(trunkline_url, concurrency=20, retry_limit=1000).is_up())
    killing = False
    await sending
    final = await verdict(within_s=CALM_S)

    assert len(final.jobs) == final.count("completed")


async def test_a_released_job_is_found_within_a_minute_when_its_signal_is_lost(sender, proxy, children, journal, trunkline_url, verdict):
    """It goes back to its place in line, behind everybody's marks; the scan from the front finds it."""
    proxy.mute()
    await children.worker(proxy.url, concurrency=1).is_up()
    leaver = await children.worker(trunkline_url, concurrency=100, shutdown_timeout=0.5).is_up()
    held = await sender.send_each("slow", 150, {"seconds": 4})
    await journal.wait_for("started", 100, who=leaver.name)
    await leaver.terminate()
    await children.worker(proxy.url, concurrency=100).is_up()
    await sender.send_each("noop", 500)
    final = await verdict(within_s=90)

    assert {"completed"} == {final.jobs[job_id].state for job_id in held}


@pytest.mark.parametrize("senders", [4])
async def test_a_thousand_senders_of_one_key(sender, children, journal, gate, trunkline_url, verdict, senders):
    """The short test's two hundred, five times as many, over four processes."""
    crowd = [children.sender(trunkline_url, count=250, at_once=250, key="order-17", gate=str(gate)) for _ in range(senders)]
    for one in crowd:
        await one.is_up()
    gate.touch()
    for one in crowd:
        await one.ended()
    await children.worker(trunkline_url).is_up()
    final = await verdict()

    assert 1 == len(final.jobs)
    assert 1 == sum(fact.more["created"] for fact in journal.of("accepted"))


async def test_twenty_thousand_jobs_through_three_crashes(server, children, journal, server_verdict):
    """Bulk and single sends while PostgreSQL is shut down immediately, three times, with several workers."""
    for _ in range(3):
        children.worker(server.url, concurrency=50, retry_limit=1000)
    async with Trunkline(settings=Settings.load({}, database_url=server.url)) as app:
        sender = Sender(app, journal)
        bulk = [asyncio.create_task(sender.send_many([new_job("noop") for _ in range(1000)])) for _ in range(15)]
        single = asyncio.create_task(sender.send_each("effect", 5000, at_once=200))
        for n in range(3):
            await journal.wait_for("acked", 1000 * (n + 1), within_s=CALM_S)
            await server.crash()
            await server.start()
        await asyncio.gather(*bulk, single)
    final = await server_verdict(within_s=CALM_S)

    assert 20_000 == final.count("completed")
