"""`crm-sync` and a portal that lies: about its clock, its waits, its items."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.jobtypes.portal import START, Portal, refusal, rows
from tests.jobtypes.test_crm_sync import crm, sync, tenant  # noqa: F401 - fixtures
from trunkline import Trunkline
from trunkline.model import Fail, RetryAfter

pytestmark = pytest.mark.asyncio(loop_scope="module")
Sync = Callable[..., Awaitable[dict[str, Any]]]
FIELDS = (200, {}, b'{"result": {"fields": {"id": {}, "title": {}}}}')


def page(*items: dict[str, Any], **time: Any) -> tuple[int, dict[str, str], bytes]:
    return 200, {}, json.dumps({"result": {"items": items}, "time": time}).encode()


@pytest.mark.parametrize("says_its_time", [True, False])
async def test_an_item_from_the_future_hides_no_change_before_it(sync: Sync, portal: Portal, table: Path, says_its_time: bool) -> None:  # noqa: F811
    """Its time is nobody's place: what changes meanwhile is brought the next time."""
    portal.put(1, second=1)
    portal.put(2, second=40 * 86400 if says_its_time else 10_000 * 86400)
    if not says_its_time:
        portal._time = lambda **_: {}
    first = await sync()
    portal.now = START + timedelta(days=31)
    portal.put(3, second=30.5 * 86400 if says_its_time else 365 * 86400)
    await sync()

    assert (2, [1, 2, 3]) == (first["seen"], [n for (n,) in rows(table, "id")])


async def test_a_wait_that_makes_no_sense_is_bounded(sync: Sync, portal: Portal, crm: Trunkline, tenant: str) -> None:  # noqa: F811
    """One that is no number, endless or of years: what a portal says shuts its key for an hour at the most."""
    for n in range(1, 61):
        portal.put(n, second=n)
    portal.operating, portal.reset_in_s = 470, 10**11
    said = []
    for answers in ([], [refusal(429, "", **{"retry-after": "nan"})], [refusal(429, "", **{"retry-after": "inf"})]):
        portal.answer_next(*answers)
        with pytest.raises(RetryAfter) as caught:
            await sync()
        said.append(caught.value.seconds)
        await crm.limits.unblock("bitrix24:127.0.0.1", tenant=tenant)
    await crm.limits.block("bitrix24:127.0.0.1", 3 * 366 * 86400, tenant=tenant)
    with pytest.raises(RetryAfter):  # somebody else's wait, and no failure of this job
        await sync()

    assert [3600, 60, 3600] == said


async def test_an_item_that_cannot_be_one_ends_the_sync_with_a_sentence(sync: Sync, portal: Portal, table: Path) -> None:  # noqa: F811
    """And writes nothing."""
    for identity, at in (
        (None, "2026-03-01"),
        ([], "2026-03-01"),
        (1e300, "2026-03-01"),
        ("9" * 30, "2026-03-01"),
        (1, "0001-01-01T00:00:00+14:00"),
    ):
        portal.answer_next(FIELDS, page({"id": identity, "title": "x", "updatedTime": at}))
        with pytest.raises(Fail, match="without id and updatedTime"):
            pytest.fail(f"{identity} {at} answered {await sync()}")
    assert [] == rows(table)
