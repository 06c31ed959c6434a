"""Encrypted jobs through a killed worker, a crashed server and a rotation under load: nothing lost, nothing plain, old keys can go."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest
from cryptography.fernet import Fernet

from tests.flows.conftest import drained_verdict
from tests.support.plaintext import tables_with
from tests.support.sender import Sender
from trunkline import Trunkline
from trunkline.errors import Unavailable
from trunkline.settings import Settings

pytestmark = pytest.mark.private_server
OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()
CARD = "4111-plain-4242"  # found nowhere, or something is wrong


def application(url: str, keys: str) -> Trunkline:
    return Trunkline(settings=Settings.load({}, database_url=url, encryption_keys=keys, shutdown_timeout_s=5))


async def rotate_while(app: Trunkline, going: asyncio.Event) -> int:
    """Rotate again and again, through whatever happens; how many values were moved."""
    moved = 0
    while going.is_set():
        try:
            moved += (await app.privacy.rotate()).moved
        except Unavailable:
            await asyncio.sleep(0.05)
    return moved


async def send_while(sender: Sender, going: asyncio.Event) -> int:
    """Send encrypted jobs until told to stop; how many."""
    count = 0
    while going.is_set():
        await sender.send("secret", {"card": f"{CARD} {count}"})
        count += 1
    return count


async def test_rotation_under_load_through_kill_and_crash(server, journal, children, gate):
    """The keys turn while workers die and the server goes: at the end a process that has the new key alone reads everything."""
    async with application(server.url, f"{OLD},{NEW}") as before, application(server.url, f"{NEW},{OLD}") as after:
        victim = await children.worker(server.url, concurrency=5, keys=f"{OLD},{NEW}").is_up()
        one, other = Sender(before, journal), Sender(after, journal)
        held = await one.send_each("secret", 5, {"card": CARD, "gate": str(gate)}, at_once=5)
        await journal.wait_for("started", 5, who=victim.name)
        heir = await children.worker(server.url, concurrency=20, keys=f"{NEW},{OLD}").is_up()
        going = asyncio.Event()
        going.set()
        sending = [asyncio.create_task(send_while(sender, going)) for sender in (one, other, one, other)]
        rotating = asyncio.create_task(rotate_while(after, going))
        await journal.wait_for("acked", 40, what="completed")
        victim.kill()
        await journal.wait_for("started", 5, attempt=2, who=heir.name, within_s=40)
        await server.crash()
        gate.touch()
        await server.start()
        seen = len(journal.of("acked", what="completed"))
        await journal.wait_for("acked", seen + 40, what="completed")
        going.clear()
        sent, moved = sum(await asyncio.gather(*sending)), await rotating
        final = await drained_verdict(journal, server.url)
        report = await after.privacy.rotate()
        check = await after.privacy.check()

    assert sent + len(held) == final.count("completed")
    assert moved + report.moved > 0
    assert {1} == {position for _, position in check.by_key} and not check.unreadable
    assert [] == await plain(server.url)
    async with application(server.url, NEW) as alone:  # the old key is gone
        jobs = [await alone.get(job_id) for job_id in final.jobs]
    assert all(CARD in job.payload["card"] and job.result == {"kept": job.payload} for job in jobs)


async def plain(url: str) -> list[str]:
    """Tables with the card in plain text."""
    conn: Any = await asyncpg.connect(url)
    try:
        return await tables_with(conn, CARD)
    finally:
        await conn.close()
