"""Presence: what rooms have, over all processes that live; written seldom, for one tenant."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from tests.support.until import until
from trunkline.errors import InvalidInput, NotFound
from trunkline.model.job import new_id
from trunkline.realtime import Connected, Presence, job_room
from trunkline.realtime.presence import AT_ONCE
from trunkline.store import presence, sessions


class Process:
    """Rooms with members, and a session."""

    def __init__(self, store, session_id: int) -> None:
        self.members: Counter[tuple[int, str]] = Counter()
        self.session_id = session_id
        self.presence = Presence(store, lambda: self.session_id, lambda *place: self.members[place], every_s=0.01)

    def have(self, tenant_id: int, room: str, members: int) -> None:
        self.members[tenant_id, room] = members
        self.presence.changed(tenant_id, room)


@pytest.fixture
async def processes(app):
    return [Process(app.store, await sessions.open_session(app.store, f"p{n}", 60)) for n in range(2)]


async def test_watchers_are_those_of_all_living_processes(app, processes, clock):
    """Of one tenant; a process that died or said goodbye does not count, whether or not somebody has noticed."""
    here, other = await app.tenant_id(None), await app.tenant_id("other")
    job_id = new_id()
    for n, process in enumerate(processes, 1):
        for tenant_id, room, members in [
            (here, "all-jobs", n),
            (here, job_room(job_id), 5 * n),
            (here, "everyone", 7),
            (other, "user:a", 9),
        ]:
            process.have(tenant_id, room, members)
        process.have(here, "clients", 2)
        await process.presence._turn()
    watchers = app.updates.watchers
    assert (3, 15, 0) == (await watchers(), await watchers(job_id=job_id), await watchers(user_id="a"))
    assert (18, Connected(14, 4)) == (await watchers(user_id="a", tenant="other"), await app.updates.connected())

    await sessions.close_session(app.store, processes[0].session_id)
    assert 2 == await watchers()
    await clock.forward(61)  # nobody looked after the other one
    assert (0, Connected(0, 0)) == (await watchers(), await app.updates.connected())
    with pytest.raises(NotFound):
        await watchers(tenant="nobody")
    with pytest.raises(InvalidInput, match="one of the two"):
        await watchers(job_id=job_id, user_id="a")


async def test_a_process_with_a_new_session_says_all_again_and_forgets_the_dead(app, processes):
    """Also what it could not say because the old one was over."""
    tenant_id, process = await app.tenant_id(None), processes[0]
    process.have(tenant_id, "all-jobs", 3)
    await process.presence._turn()
    await sessions.close_session(app.store, process.session_id)
    process.have(tenant_id, "user:a", 4)
    await process.presence._turn()
    assert {} == await presence.read(app.store, tenant_id, ["all-jobs", "user:a"])
    process.session_id = await sessions.open_session(app.store, "again", 60)
    await process.presence._turn()

    assert {"all-jobs": 3, "user:a": 4} == await presence.read(app.store, tenant_id, ["all-jobs", "user:a"])
    assert 2 == await app.store.fetchval("select count(*) from trunkline.presence")
    assert 0 == await presence.sweep(app.store)


async def test_many_joins_are_one_write_and_nothing_is_written_for_nothing(app, processes):
    """Rooms that are empty again by then were never there."""
    tenant_id, process = await app.tenant_id(None), processes[0]
    running = asyncio.create_task(process.presence.run())
    for n in range(1, 501):
        process.have(tenant_id, "all-jobs", n)
        process.have(tenant_id, "user:gone", n % 2)
    await until(lambda: process.presence.writes, "it is written")
    process.have(tenant_id, "all-jobs", 499)
    process.have(tenant_id, "all-jobs", 500)
    await until(lambda: not process.presence._changed, "it was looked at")
    running.cancel()

    assert 1 == process.presence.writes
    assert {"all-jobs": 500} == await presence.read(app.store, tenant_id, ["all-jobs", "user:gone"])


async def test_a_tenant_with_many_rooms_holds_up_no_other(app, processes, monkeypatch):
    """Each write takes so many rooms; of one tenant so many are told at all."""
    monkeypatch.setattr("trunkline.realtime.presence.MOST_ROOMS", 3 * AT_ONCE // 2)
    big, small, process = await app.tenant_id("big"), await app.tenant_id("small"), processes[0]
    for n in range(2 * AT_ONCE):
        process.have(big, f"user:{n}", 1)
    process.have(small, "all-jobs", 1)
    await process.presence._turn()
    assert {"all-jobs": 1} == await presence.read(app.store, small, ["all-jobs"])
    for _ in range(4):
        await process.presence._turn()

    told = await app.store.fetchval("select count(*) from trunkline.presence where tenant_id = $1", big)
    assert 3 * AT_ONCE // 2 == told and not process.presence._changed
