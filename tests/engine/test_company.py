"""Claims beside each other, and what a tenant is given while others are there."""

from __future__ import annotations

import asyncio

import pytest

from trunkline.engine.company import MOST, ON_THEIR_WAY, REMEMBERED, STAYS_S, Company
from trunkline.engine.under_way import PRECEDES_S, UnderWay


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_tenant_that_is_alone_is_never_in_company():
    """Its claims and flushes are as large as they get."""
    company = Company(Clock())
    for _ in range(3):
        company.answered(1, 10, of=1000)

    assert not company.is_here
    assert 1000 == company.most(1000)
    assert set() == company.full({1: 5000})


def test_others_with_few_jobs_are_there_for_a_while_after_they_came():
    """Then whoever is left alone works in large pieces again."""
    clock = Clock()
    company = Company(clock)
    company.answered(1, 1000, of=1000)
    company.answered(2, 3, of=1000)
    company.answered(1, 1000, of=1000)
    beside = company.is_here, company.most(1000), company.most(20), company.full({1: ON_THEIR_WAY, 2: ON_THEIR_WAY + 1})
    clock.now += STAYS_S
    company.answered(1, 1000, of=1000)

    assert (True, MOST, 20, {2}) == beside
    assert (False, 1000) == (company.is_here, company.most(1000))


def test_tenants_that_all_have_a_backlog_are_no_company_for_each_other():
    """Each waits for the others anyway, and small pieces would only make all of them slower."""
    company = Company(Clock())
    for _ in range(3):
        company.answered(1, 1000, of=1000)
        company.answered(2, 500, of=500)
    company.answered(3, 0, of=1000)  # whose line is looked at for nothing

    assert (False, 1000) == (company.is_here, company.most(1000))


def test_a_tenant_whose_only_job_took_the_only_slot_is_small():
    """Its claim was full; the next one says that there is no more."""
    company = Company(Clock())
    company.answered(1, 1, of=1)
    company.answered(2, 1, of=1)
    after_its_job = company.is_here
    company.answered(2, 0, of=1)

    assert (False, True) == (after_its_job, company.is_here)


def test_tenants_that_came_long_ago_are_not_remembered():
    """A process that serves a hundred thousand tenants keeps those of the last seconds."""
    clock = Clock()
    company = Company(clock)
    for tenant_id in range(1, 5 * REMEMBERED):
        clock.now += STAYS_S / 100
        company.answered(tenant_id, 1, of=10)

    assert len(company._came) <= REMEMBERED


async def test_what_a_claim_raised_is_raised_once():
    """By whoever asks next."""
    woken = asyncio.Event()
    under_way = UnderWay(woken.set)

    async def claim() -> None:
        raise ValueError("no")

    under_way.begin(1, 10, (0, 0), claim())
    before = dict(under_way.limits)
    await woken.wait()

    assert ({1: 10}, {}) == (before, dict(under_way.limits))
    with pytest.raises(ValueError, match="no"):
        under_way.check()
    under_way.check()


async def test_landed_waits_for_every_answer_also_those_that_never_come_to_be():
    """A claim that was cancelled is no failure. Meanwhile nobody begins who has less of a right than those under way."""
    clock, go, landed = Clock(), asyncio.Event(), []
    under_way = UnderWay(lambda: None, clock)

    async def claim(tenant_id: int) -> None:
        await go.wait()
        landed.append(tenant_id)

    async def for_ever() -> None:
        await asyncio.Event().wait()

    under_way.begin(1, 1, (0, 5), claim(1))
    under_way.begin(2, 1, (3, 2), claim(2))
    waiting = asyncio.create_task(under_way.landed())
    await asyncio.sleep(0)
    was_done = waiting.done()
    allowed = [under_way.allows(right, clock.now) for right in ((0, 4), (0, 5), (0, 6), (1, 0))]
    allowed_later = under_way.allows((9, 9), clock.now + 2 * PRECEDES_S)
    go.set()
    await waiting
    under_way.begin(3, 1, (0, 0), for_ever())
    under_way.cancel()
    await under_way.landed()
    under_way.check()

    assert [True, True, False, False] == allowed
    assert allowed_later
    assert under_way.allows((9, 9), clock.now)
    assert (False, [1, 2], {}) == (was_done, sorted(landed), dict(under_way.limits))
