"""`crm-sync`: the real client against a server that behaves as Bitrix24's documentation says, into real tables.

One application for the module: tests keep apart by their tenants.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import pytest_asyncio

from tests.jobtypes.portal import CODE, START, Portal, refusal, rows
from tests.jobtypes.support import FIRST_KEY, Database, RecordingJob
from trunkline import Trunkline
from trunkline.connections import bitrix24
from trunkline.errors import ConnectionFailed
from trunkline.jobtypes import crm_sync
from trunkline.model import Fail, RetryAfter
from trunkline.settings import Settings
from trunkline.store.admin import create_database, drop_database

pytestmark = pytest.mark.asyncio(loop_scope="module")
Sync = Callable[..., Awaitable[dict[str, Any]]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def crm(trunkline_server_url: str, trunkline_template: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Trunkline]:
    """An application that may open the portal, the tables and sockets."""
    name = f"trunkline_test_{uuid.uuid4().hex[:16]}"
    url = await create_database(trunkline_server_url, name, template=trunkline_template)
    hosts = f"/tmp,{tmp_path_factory.getbasetemp()},127.0.0.1"
    async with Trunkline(settings=Settings.load({}, database_url=url, encryption_keys=FIRST_KEY, connection_hosts=hosts)) as app:
        yield app
    await drop_database(trunkline_server_url, name)


@pytest.fixture
def tenant() -> str:
    """A tenant of the test's own, with connections and a bucket of its own."""
    return f"t-{uuid.uuid4().hex[:12]}"


@pytest_asyncio.fixture(loop_scope="module")
async def sync(crm: Trunkline, tenant: str, portal: Portal, table: Path, job: RecordingJob) -> Sync:
    """One run, as a job of its own, from the portal into the table; the result."""
    await crm.connections.create(portal.url, name="crm", tenant=tenant)
    await crm.connections.create(f"sqlite:///{table}", name="shop", tenant=tenant)
    portal.asked.clear()
    job.tenant_id = await crm.tenant_id(tenant)

    async def syncing(*, same_job: bool = False, **options: Any) -> dict[str, Any]:
        job.id = job.id if same_job else uuid.uuid4()
        payload = crm_sync.CrmSync(**{"connection_id": "crm", "entity": "deal", "target_id": "shop", "table": "deal", **options})
        return await crm_sync.synced(crm, job, payload)

    return syncing


async def test_only_what_changed_is_brought_the_next_time(sync: Sync, portal: Portal, table: Path, job: RecordingJob) -> None:
    for n in range(1, 301):
        portal.put(n, second=n // 120)  # 120 of one second: a page's border is within it

    first = await sync(overlap_seconds=0)
    portal.put(7, second=500, title="changed")
    portal.put(301, second=500)
    second = await sync(overlap_seconds=0)

    assert (300, 300, 0, []) == tuple(first[name] for name in ("seen", "written", "refused", "refusals"))
    assert [(n, "changed" if n == 7 else f"Deal {n}") for n in range(1, 302)] == rows(table)
    assert ("2026-03-01 09:00:00", "2026-08-25", 1.5) == tuple(map(_plain, rows(table, "updated_time, closedate, opportunity")[0]))
    assert (START + timedelta(seconds=500)).astimezone(UTC) == datetime.fromisoformat(second["until"])
    # Without an overlap a run asks again for the whole last second: 61 of the second 2, then the two that changed.
    assert (63, 63) == (second["seen"], second["written"])
    assert ["crm.item.fields", "crm.item.list", "batch", "batch", "crm.item.fields", "crm.item.list", "batch"] == portal.asked
    assert 7 == first["requests"] + second["requests"]
    assert (100, "63 items written, 0 refused", 63, 63) == job.said[-1]
    assert CODE not in f"{job.said} {first}"


def _plain(value: Any) -> Any:
    return value.removesuffix(".000000") if isinstance(value, str) else value


async def test_what_changes_while_it_is_read_is_neither_missed_nor_old(sync: Sync, portal: Portal, table: Path) -> None:
    """Between the pages of one batch an item moves to the end and another into the middle; one comes behind the run's own time."""
    for n in range(1, 400):
        portal.put(n, second=n)

    def change(number: int) -> None:
        if number == 3:
            portal.put(60, second=390.0, title="moved")
            portal.put(500, second=380.0, title="came")
            portal.put(2, second=40 * 86400, title="from the future")

    portal.on_list = change
    await sync()

    found = dict(rows(table))
    assert {60: "moved", 500: "came", 2: "Deal 2"} == {n: found[n] for n in (60, 500, 2)}
    assert 400 == len(found)
    portal.now = START + timedelta(days=60)
    await sync()
    assert "from the future" == dict(rows(table))[2]


async def test_a_change_that_shows_later_than_its_time_is_found_within_the_overlap(sync: Sync, portal: Portal, table: Path) -> None:
    portal.put(1, second=100)
    await sync()
    portal.put(2, second=70, title="late")

    result = await sync()

    assert (2, 2) == (result["seen"], result["written"])
    assert [(1, "Deal 1"), (2, "late")] == rows(table)


async def test_it_begins_anew_when_asked_to_or_when_rows_cannot_be_whole(sync: Sync, portal: Portal, table: Path) -> None:
    for n in range(1, 4):
        portal.put(n, second=1000 * n)
    mapping = {"id": "id", "title": "title"}

    seen = []
    for full in (False, False, True):
        seen.append((await sync(mapping=mapping, full=full))["seen"])
    seen.append((await sync(mapping={**mapping, "opportunity": "opportunity"}))["seen"])
    with sqlite3.connect(table) as conn:
        conn.execute("delete from deal")
    conn.close()
    seen.append((await sync(mapping={**mapping, "opportunity": "opportunity"}))["seen"])

    assert [3, 1, 3, 3, 3] == seen


async def test_an_item_that_does_not_fit_is_left_out_and_named(sync: Sync, portal: Portal, table: Path) -> None:
    portal.put(1, second=1, title="x" * 21)
    portal.put(2, second=2, opportunity="much")
    portal.put(3, second=3)

    result = await sync()

    assert (3, 1, 2) == tuple(result[name] for name in ("seen", "written", "refused"))
    assert [(1, "title"), (2, "opportunity")] == [(one["id"], one["field"]) for one in result["refusals"]]
    assert [(3, "Deal 3")] == rows(table)


async def test_types_land_in_postgresql_and_a_refused_row_is_told(
    tenant: str, crm: Trunkline, portal: Portal, database: Database, sync: Sync
) -> None:
    database.execute(
        "create table deal (id int primary key, title text check (title <> 'Deal 2'), opened boolean, updated_time timestamptz, tags jsonb)",
        f"alter table deal owner to {database.role}",
        f"grant create on schema public to {database.role}",
    )
    await crm.connections.create(database.url, name="pg", tenant=tenant)
    for n in (1, 2, 3):
        portal.put(n, second=n)
    mapping = {"id": "id", "title": "title", "opened": "opened", "updatedTime": "updated_time", "ufCrm1_tags": "tags"}

    result = await sync(target_id="pg", mapping=mapping)

    with psycopg.connect(database.url) as conn:
        found = conn.execute("select * from deal order by id").fetchall()
        (kept,) = conn.execute("select last_id from trunkline_sync").fetchall()
    assert [(n, f"Deal {n}", True, START + timedelta(seconds=n), ["a", "b"]) for n in (1, 3)] == found
    assert ("deal_title_check" in result["refusals"][0]["reason"], 2, 3) == (True, result["refusals"][0]["id"], *kept)


MENDED_BY_PEOPLE: list[tuple[dict[str, Any], str]] = [
    ({"table": "nowhere"}, "no table 'nowhere'"),
    ({"mapping": {"id": "title"}}, "unique"),
    ({"mapping": {"id": "id", "tittle": "title"}}, "'tittle'"),
    ({"mapping": {"id": "id", "title": "nothing"}}, "'nothing'"),
    ({"mapping": {"id": "id"}}, "'title' of the table needs a value"),
    ({"mapping": {"id": "id", "contacts": "title"}}, "'contacts'"),
    ({"entity": None, "entity_type_id": 177}, "Smart process not found"),
    ({"connection_id": "shop"}, "is no CRM"),
    ({"target_id": "crm"}, "is a CRM and no database"),
    ({"target_id": "other"}, "other"),
]


async def test_what_a_person_must_mend_fails_at_once(sync: Sync, portal: Portal, table: Path) -> None:
    portal.put(1, second=1)
    for options, said in MENDED_BY_PEOPLE:
        with pytest.raises(Fail, match=said) as caught:
            pytest.fail(f"{options} answered {await sync(**options)}")
        assert CODE not in str(caught.value)
    for wrong in ({"entity_type_id": 2}, {"entity": None}, {"mapping": {"title": "title"}}, {"code": "x"}):
        with pytest.raises(ValueError, match=r"entity|mapping|code"):
            await sync(**wrong)

    assert [] == rows(table)
    assert "crm.item.list" not in portal.asked


def page(items: list[dict[str, Any]]) -> tuple[int, dict[str, str], bytes]:
    return 200, {}, json.dumps({"result": {"items": items}, "time": {}}).encode()


HTML = b"<html>" + CODE.encode()
FINAL: list[tuple[Any, str]] = [
    (refusal(401, "INVALID_CREDENTIALS", f"no webhook {CODE}"), "INVALID_CREDENTIALS"),
    (refusal(401, "expired_token"), "expired_token"),
    (refusal(401, "NO_AUTH_FOUND"), "NO_AUTH_FOUND"),
    (refusal(401, "ACCESS_DENIED", "REST is available only by subscription"), "only by subscription"),
    (refusal(401, "insufficient_scope"), "insufficient_scope"),
    (refusal(503, "OVERLOAD_LIMIT"), "OVERLOAD_LIMIT"),
    (refusal(400, "", "Not found"), "Not found"),
    ((404, {}, HTML), "404"),
    ((302, {"location": "http://169.254.169.254/"}, b""), "elsewhere now"),
    (page([{"id": 1}]), "without id and updatedTime"),
    (page([{"id": 2, "updatedTime": "2026-03-01"}, {"id": 1, "updatedTime": "2026-03-01"}]), "out of order"),
    ((200, {}, b'{"result": []}'), "without items"),
]
PASSING: list[tuple[Any, str]] = [
    (refusal(500, "INTERNAL_SERVER_ERROR"), "INTERNAL_SERVER_ERROR"),
    (refusal(500, "ERROR_UNEXPECTED_ANSWER"), "ERROR_UNEXPECTED_ANSWER"),
    ((502, {"content-type": "text/html"}, HTML), "502"),
    ((200, {"content-type": "text/html"}, HTML), "no JSON"),
    ((200, {}, b'{"result": {"items": ['), "no JSON"),
    ((200, {"content-length": "5000"}, b'{"result": {'), "broke off"),
    ((200, {}, b"[" * 100_000), "no JSON"),
]


async def test_each_error_of_the_portal_is_final_or_tried_again(sync: Sync, portal: Portal, table: Path) -> None:
    for answers, kind in ((FINAL, Fail), (PASSING, ConnectionFailed)):
        for answer, said in answers:
            portal.answer_next((200, {}, b'{"result": {"fields": {"id": {}, "title": {}}}}'), answer)
            with pytest.raises(kind, match=said) as caught:
                pytest.fail(f"{answer} answered {await sync()}")
            assert CODE not in f"{caught.value} {caught.value.__context__}", said

    assert [] == rows(table)


async def test_a_batch_that_is_too_large_is_asked_for_in_smaller_ones(
    sync: Sync, portal: Portal, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bitrix24.Portal.__init__, "__kwdefaults__", {"answer_s": 20.0, "most_bytes": 30_000})
    for n in range(1, 501):
        portal.put(n, second=n, title="x" * 20, comment="y" * 100)

    await sync()
    portal.items[7]["title"] = "z" * 40_000

    assert 500 == len(rows(table))
    with pytest.raises(Fail, match="larger than is read at once"):
        await sync(full=True)


async def test_a_full_bucket_and_a_worn_out_method_stop_the_portal_for_everybody(
    tenant: str, sync: Sync, portal: Portal, crm: Trunkline
) -> None:
    """The wait is the portal's own, uses up no attempt, and holds up every job of the key, also those that have not started."""
    portal.put(1, second=1)
    key = "bitrix24:127.0.0.1"
    waits = []
    for answers in (
        [refusal(503, "QUERY_LIMIT_EXCEEDED")],
        [refusal(429, "OPERATION_TIME_LIMIT")],
        [refusal(429, "", **{"retry-after": "77"})],
    ):
        portal.answer_next(*answers)
        with pytest.raises(RetryAfter) as caught:
            await sync()
        before = len(portal.asked)
        with pytest.raises(RetryAfter) as second:  # another job: nothing is sent
            await sync()
        assert before == len(portal.asked)
        (limit,) = await crm.limits.list(tenant=tenant)
        assert key == limit.key
        waits.append((caught.value.seconds, round(second.value.seconds, -1)))
        await crm.limits.unblock(key, tenant=tenant)

    assert [(10.0, 10.0), (60.0, 60.0), (77.0, 80.0)] == waits


async def test_a_method_that_is_nearly_worn_out_is_left_before_the_portal_shuts_it(
    tenant: str, sync: Sync, portal: Portal, crm: Trunkline
) -> None:
    for n in range(1, 201):
        portal.put(n, second=n)
    portal.operating, portal.works_s, portal.reset_in_s = 430, 11, 120

    with pytest.raises(RetryAfter, match="441 of 480") as caught:
        await sync()
    portal.operating = 0
    await crm.limits.unblock("bitrix24:127.0.0.1", tenant=tenant)
    result = await sync(same_job=True, overlap_seconds=0)

    assert 120 == caught.value.seconds
    assert (441 <= 480, 201, 201) == (
        True,
        result["seen"],
        result["written"],
    )  # 50, then on from the last of them, which is asked for again
    assert 0 == portal.refused


async def test_an_error_within_a_batch_is_told_by_the_page_itself(sync: Sync, portal: Portal, table: Path) -> None:
    for n in range(1, 201):
        portal.put(n, second=n)
    portal.works_s, portal.operating = 200, -10  # the fourth list passes 480, in the middle of a batch

    with pytest.raises(RetryAfter):
        await sync()

    assert 150 == len(rows(table))


async def test_a_sync_that_is_cancelled_ends_and_a_later_one_goes_on(sync: Sync, portal: Portal, table: Path, job: RecordingJob) -> None:
    for n in range(1, 401):
        portal.put(n, second=n)
    job.on_progress = lambda job: setattr(job, "cancelled", "50 items" in str(job.said[-1][1]))

    with pytest.raises(asyncio.CancelledError):
        await sync()
    there, job.cancelled, job.on_progress = len(rows(table)), False, None
    result = await sync(overlap_seconds=0)

    assert (50, 351, 400) == (there, result["seen"], len(rows(table)))


async def test_a_target_without_room_for_the_place_is_refused(tenant: str, crm: Trunkline, sync: Sync, database: Database) -> None:
    database.execute("create table deal (id int primary key, title text)", f"alter table deal owner to {database.role}")
    await crm.connections.create(database.url, name="pg", tenant=tenant)

    with pytest.raises(Fail, match="may not make the table trunkline_sync"):
        await sync(target_id="pg")
