"""Encrypted kinds under processes that do anything at any moment while their keys turn: no plain text ever stands anywhere, everything
that was accepted runs with the payload it was given, and after a rotation the old keys can go."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any
from uuid import UUID

import pytest
from cryptography.fernet import Fernet

from tests.support.plaintext import tables_with
from tests.support.until import until
from trunkline import Fail, Job, Snooze, Trunkline, new_job
from trunkline.errors import NotFound, NotRetryable
from trunkline.settings import Settings

CARD = "4111-plain-4242"
PLANS = ("", "", "raise", "raise raise raise", "snooze", "fail", "spawn", "checkpoint raise", "odd")
QUIET = """select not exists (select from trunkline.jobs
 where state not in ('completed', 'failed', 'cancelled') and kind <> 'plain' and queue <> 'graves')"""
STEPS = 45
LIVES = 3


class Wallet:
    """What was accepted: payloads by job; and what handlers were given."""

    def __init__(self) -> None:
        self.accepted: dict[UUID, Any] = {}
        self.given: dict[UUID, Any] = {}
        self.count = 0

    def payload(self, chance: Random) -> dict[str, Any]:
        """Another card, and what its handler is to do at each attempt."""
        self.count += 1
        return {"card": f"{CARD} {self.count}", "password": CARD, "plan": chance.choice(PLANS)}


class Life:
    """One process of its own keys; `turn_to` has it start again with others, as a deploy would."""

    def __init__(self, url: str, wallet: Wallet, seed: int, *, works: bool) -> None:
        self.url, self.wallet, self.chance, self.works = url, wallet, Random(seed), works
        self.wanted = self.keys = ""
        self.app: Trunkline

    async def start(self) -> None:
        self.keys = self.wanted
        settings = Settings.load({}, database_url=self.url, encryption_keys=self.keys, shutdown_timeout_s=5, pool_max=4)
        self.app = Trunkline(settings=settings)
        if self.works:
            self._declare()
        await self.app.open()
        if self.works:
            await self.app.start_worker(concurrency=4)

    def _declare(self) -> None:
        policy = {"retry_limit": 2, "retry_delay": 0.01, "retry_backoff": False, "retry_jitter": 0.0}

        @self.app.job("secret", encrypt=True, dead_letter="graves", **policy)
        async def secret(job: Job, payload: dict) -> dict:
            self.wallet.given[job.id] = payload
            todo = payload["plan"].split()
            if "checkpoint" in todo:
                assert await job.last_checkpoint() in (None, payload)
                await job.checkpoint(payload)
            match todo[min(job.failures, len(todo) - 1)] if todo else "":
                case "raise" | "checkpoint" if job.failures < 2:
                    raise ValueError("no value in here")
                case "snooze" if job.attempt == 1:
                    raise Snooze(0.01)
                case "fail":
                    raise Fail("for good")
                case "spawn" if job.attempt == 1:
                    child = {"card": f"{CARD} child", "plan": ""}
                    self.wallet.accepted[(await job.spawn("secret", child)).id] = child
                case "odd" if job.attempt == 1:
                    await job.spawn("typed", {"card": {"not": CARD}})
            return {"kept": payload["card"]}

        @self.app.job("typed", encrypt=True, retry_limit=0)
        async def typed(card: str) -> None: ...

    async def live(self, over: asyncio.Event) -> None:
        """Steps until it is over, and at least so many."""
        for n in range(10_000):
            if n >= STEPS and over.is_set():
                return
            if self.wanted != self.keys:
                await self.app.close()
                await self.start()
            step = self.chance.choices((self.send, self.many, self.keep, self.meddle, self.rotate), (5, 2, 2, 3, 1))[0]
            await step()
            await asyncio.sleep(0)

    async def send(self) -> None:
        payload = self.wallet.payload(self.chance)
        options = {"delay": self.chance.choice((None, 0.01)), "unique_key": self.chance.choice((None, None, "u"))}
        done = await self.app.enqueue_checked("secret", payload, **options)
        if done.created:
            self.wallet.accepted[done.id] = payload

    async def many(self) -> None:
        """A list, a batch with a callback, or a chain."""
        payloads = [self.wallet.payload(self.chance) for _ in range(3)]
        jobs = [self.app.new_job("secret", payload, allow_secrets=True) for payload in payloads]
        match self.chance.randrange(3):
            case 0:
                await self.app.enqueue_many(jobs)
            case 1:
                await self.app.batches.send(jobs, on_complete=new_job("secret", {"card": CARD, "plan": ""}))
            case 2:
                await self.app.flows.chain(*jobs)
        self.wallet.accepted |= {job.id: payload for job, payload in zip(jobs, payloads, strict=True)}

    async def keep(self) -> None:
        """A template or a schedule, and a job of it."""
        payload, name = self.wallet.payload(self.chance), self.chance.choice("abc")
        if self.chance.random() < 0.5:
            await self.app.templates.save(name, "secret", payload)
            await self.app.enqueue(template=name, payload=self.chance.choice((None, {"card": f"{CARD} over"})))
        else:
            await self.app.schedules.create(name, "secret", payload, every=3600)
            await self.app.schedules.run_now(name)

    async def meddle(self) -> None:
        """What people do."""
        some = self.chance.choice(list(self.wallet.accepted) or [None])
        try:
            match self.chance.randrange(3):
                case 0 if some:
                    await self.app.cancel(some)
                case 1 if some:
                    await self.app.retry(some)
                case _:
                    await self.app.redrive(limit=3)
        except (NotFound, NotRetryable):
            pass

    async def rotate(self) -> None:
        await self.app.privacy.rotate()


async def turn_keys(lives: list[Life], over: asyncio.Event) -> str:
    """As the documents say it: the new key last everywhere, then first; rotate until nothing is left; the old one off. Twice."""
    keys = lives[0].wanted
    for _ in range(2):
        new = Fernet.generate_key().decode()
        for wanted in (f"{keys},{new}", f"{new},{keys}"):
            for life in lives:
                life.wanted = wanted
            await until(lambda wanted=wanted: all(life.keys == wanted for life in lives), "every process has the keys")
        async with Trunkline(settings=Settings.load({}, database_url=lives[0].url, encryption_keys=f"{new},{keys}")) as app:

            async def is_moved(app: Trunkline = app) -> bool:
                await app.privacy.rotate()
                return {1} == {position for _, position in (await app.privacy.check()).by_key}

            await until(is_moved, "nothing is left under the old key")
        for life in lives:
            life.wanted = new
        keys = new
    over.set()
    return keys


@pytest.mark.parametrize("seed", range(2))
async def test_nothing_plain_and_nothing_lost_whatever_processes_do_while_keys_turn(trunkline_url, seed):
    """Two workers and a sender that learns from refusals what is encrypted; one that only looks for plain text."""
    wallet, over, key = Wallet(), asyncio.Event(), Fernet.generate_key().decode()
    lives = [Life(trunkline_url, wallet, seed * 10 + n, works=n < 2) for n in range(LIVES)]
    try:
        for life in lives:
            life.wanted = key
            await life.start()
        async with Trunkline(settings=Settings.load({}, database_url=trunkline_url)) as looking, asyncio.TaskGroup() as group:
            await looking.enqueue("plain", {"marker": "4111-seen"})
            assert ["job_p"] == [name[:5] for name in await tables_with(looking.store, "4111-seen")]  # it does find things

            async def look() -> None:
                while not over.is_set():
                    assert [] == await tables_with(looking.store, CARD)

            turning = group.create_task(turn_keys(lives, over))
            for work in (look(), *(life.live(over) for life in lives)):
                group.create_task(work)
        newest = turning.result()
        app = lives[0].app

        async def is_quiet() -> bool:
            return bool(await app.store.fetchval(QUIET))

        await until(is_quiet, "every job has ended")
    finally:
        for life in lives:
            await life.app.close()
    async with Trunkline(settings=Settings.load({}, database_url=trunkline_url, encryption_keys=newest)) as alone:
        assert [] == await tables_with(alone.store, CARD)
        check = await alone.privacy.check()
        assert ({1}, [], []) == ({position for _, position in check.by_key}, check.unreadable, check.plain)
        for job_id, payload in wallet.accepted.items():
            job = await alone.get(job_id)
            assert payload == job.payload and wallet.given.get(job_id, payload) == payload
            assert job.state != "completed" or {"kept": payload["card"]} == job.result
        errors = await alone.store.fetch("select distinct detail -> 'error' ->> 'type' from trunkline.outcome where state = 2")
        assert {row[0] for row in errors} <= {"ValueError", "Fail"}
