"""Who may hold a connection for a whole transaction, and how long others wait."""

from __future__ import annotations

import asyncio

import pytest

from trunkline import Trunkline
from trunkline.errors import TimedOut
from trunkline.model.actor import Actor
from trunkline.settings import Settings
from trunkline.store.turns import Turns


async def test_a_tenant_that_holds_all_it_may_keeps_no_other_waiting():
    """It has all turns but one, and what it asks for besides waits behind them."""
    turns, leave, began = Turns(3, within_s=30), asyncio.Event(), list[int | None]()

    async def hold(tenant_id: int | None) -> None:
        async with turns.turn(tenant_id):
            began.append(tenant_id)
            await leave.wait()

    async with asyncio.TaskGroup() as holding:
        for _ in range(20):
            holding.create_task(hold(1))
        await asyncio.sleep(0)
        holding.create_task(hold(2))
        holding.create_task(hold(None))
        while 2 not in began:
            await asyncio.sleep(0)
        at_once = list(began)
        leave.set()

    assert [1, 1, 2] == at_once
    assert 20 == began.count(1) and None in began


async def test_a_single_turn_is_anybodys():
    """In the smallest pool there is one for all."""
    turns = Turns(1, within_s=30)
    for tenant_id in (1, 2, None):
        async with turns.turn(tenant_id):
            pass


async def test_an_act_within_an_act_is_told_that_it_waits_for_itself(trunkline_url):
    """Where there is one turn; when it ends, another act has it."""
    actor = Actor("user", "alice", "program")
    async with Trunkline(settings=Settings.load({}, database_url=trunkline_url, pool_max=2, command_timeout_s=0.5)) as app:
        async with app.acting(actor):
            with pytest.raises(TimedOut, match="waits for itself"):
                async with app.acting(actor):
                    pass
        async with app.acting(actor) as act:
            job = await act.enqueue("work")
        found = await app.get(job.id)

    assert "work" == found.kind
