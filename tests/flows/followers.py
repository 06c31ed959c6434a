"""Watchers and senders that stay or come back, whatever happens to gateways and the database, and what they saw."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import suppress
from typing import Any

from websockets.exceptions import WebSocketException

from tests.gateway.bare import Bare
from tests.support.journal import Journal
from tests.support.until import until
from trunkline.model.job import new_id


class Follower:
    """Follows all jobs of its tenant with recovery.

    Attributes:
        heard: (job, word) of each event, from all its connections, in order.
        lost: times it was told that it did not recover.
    """

    def __init__(self, ports: list[int], token: str, chance: random.Random) -> None:
        self.ports, self.token, self.chance = ports, token, chance
        self.heard: list[tuple[str, str]] = []
        self.pid = self.offset = None
        self.lost = self.recovered = 0
        self.is_following = False
        self.bare: Bare | None = None
        self.task = asyncio.create_task(self.run())

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            with suppress(OSError, WebSocketException, TimeoutError, AssertionError, ConnectionError):
                await self.once()
            await asyncio.sleep(self.chance.uniform(0.05, 0.3))

    async def once(self) -> None:
        """One connection, from its beginning to its end."""
        auth: dict[str, Any] = {"customerToken": self.token, "recovery": True}
        if self.pid is not None:
            auth |= {"pid": self.pid, "offset": self.offset}
        bare = await Bare.open(self.chance.choice(self.ports), auth, path="/socket.io", namespace="/jobs")
        try:
            await bare.let_in()
            assert bare.accepted is not None
            if bare.accepted["pid"] != self.pid:
                self.lost += self.pid is not None
                if not (await bare.ask("subscribe:jobs", {})).get("success"):
                    return
                await bare.until("recovery", 2)
            else:
                self.recovered += 1
            self.pid, self.bare, self.is_following = bare.accepted["pid"], bare, True
            await until(lambda: bare.closed, "it ends", within_s=1e6)
        finally:
            if self.bare is bare:
                self.bare = None
                self.offset = bare.offset or self.offset
                self.heard += _words(bare)
            bare.kill()

    def endings(self) -> Counter[tuple[str, str]]:
        """Terminal events heard so far."""
        heard = self.heard + (_words(self.bare) if self.bare else [])
        return Counter((job_id, word) for job_id, word in heard if word in ("completed", "failed", "cancelled"))


def _words(bare: Bare) -> list[tuple[str, str]]:
    return [(data["jobId"], data["status"]) for name, data in bare.heard if name.startswith("job:")]


async def send_through(ports: list[int], token: str, journal: Journal, chance: random.Random, going: asyncio.Event, **options: Any) -> None:
    """Send one job after another over any gateway until `going` is cleared; a call that is not answered is repeated with its id."""
    while going.is_set():
        with suppress(OSError, WebSocketException, TimeoutError, AssertionError, ConnectionError):
            bare = await Bare.open(chance.choice(ports), {"customerToken": token, "events": False})
            try:
                await bare.until("client_ready")
                while going.is_set() and not bare.is_over:
                    await _send_one(bare, journal, chance, options)
            finally:
                bare.kill()
        await asyncio.sleep(0.05)


async def _send_one(bare: Bare, journal: Journal, chance: random.Random, options: dict[str, Any]) -> None:
    job_id = str(new_id())
    journal.note("sent", job_id)
    data = {"name": "resize", "data": {"seconds": chance.choice([0, 0, 0.02, 0.1])}, "options": {**options, "id": job_id}}
    answer = await bare.ask("send_job", data)
    if answer["status"] == "ok":
        journal.note("accepted", job_id, created=False)
    await asyncio.sleep(0.01)
