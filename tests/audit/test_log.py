"""The log of who did what: written with the act or not at all, bounded, and never changed by anybody."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest

from trunkline import Trunkline
from trunkline.audit import Audit, Noted
from trunkline.errors import InvalidInput
from trunkline.model.job import new_id


async def rows(app: Trunkline, **asked) -> list[Noted]:
    """Rows of the default tenant, oldest first."""
    found, _ = await Audit(await app.open()).list(await app.tenant_id(None), limit=100, **asked)
    return found[::-1]


async def test_a_program_says_who_acts(app):
    """Each verb that changes something adds its row; one that changes nothing adds none."""
    async with app.acting("alice", address="192.0.2.7") as act:
        job = (await act.enqueue("resize", {"secretly": 1})).id
        await act.enqueue_many([act.new_job("mail"), act.new_job("mail"), act.new_job("resize")])
        await act.pause("resize")
        await act.pause("resize")
        await act.resume("resize")
        await act.reprioritize([job], 7)
        await act.reschedule(job, datetime.now(UTC) + timedelta(hours=1))
        await act.cancel(job)
        await act.cancel(job)
        await act.retry(job)
        assert 0 == await act.redrive(queue="resize")
    found = await rows(app)

    done = ["paused", "resumed", "reprioritized", "rescheduled", "cancelled", "retried"]
    things = ["queue", "queue", "job", "job", "job", "job"]
    assert ["job.created", "jobs.created", *(f"{a}.{b}" for a, b in zip(things, done, strict=True))] == [one.act for one in found]
    assert {("user", "alice", "program", "192.0.2.7")} == {(one.actor_kind, one.actor, one.via, one.address) for one in found}
    assert (f"job:{job}", "jobs:3", "queue:resize") == (found[0].subject, found[1].subject, found[2].subject)
    assert '{"types":{"mail":2,"resize":1}}' == found[1].detail and "secretly" not in str(found)


async def test_every_service_of_an_act_notes_what_it_does(app):
    """Schedules, templates, prompts, batches, flows, limits, retention, weights."""
    async with app.acting("alice") as act:
        await act.schedules.create("s", "work", {"n": 1}, every=60)
        await act.schedules.create("s", "work", {"n": 1}, every=60)
        await act.schedules.update("s", every=90)
        await act.schedules.pause("s")
        await act.schedules.resume("s")
        await act.schedules.run_now("s")
        await act.schedules.delete("s")
        await act.schedules.delete("s")
        assert [True, False] == [await act.templates.save("t", "work", {}, priority=n) for n in (1, 2)]
        await act.templates.delete("t")
        await act.prompts.save("p", "Hello {{ name }}")
        await act.prompts.save("p", "Hello {{ name }}")
        sent = await act.batches.send([("work", 1), ("work", 2)], name="two")
        await act.batches.cancel(sent.id)
        await act.limits.set(key="k", concurrency=2)
        await act.limits.remove(key="k")
        await act.limits.remove(key="k")
        await act.limits.block("k", 60)
        await act.limits.unblock("k")
        await act.limits.pause(everything=True)
        await act.limits.resume(everything=True)
        await act.limits.quota(queued=5)
        await act.limits.quota()
        await act.retention.set("work", completed=3600)
        await act.tenants.set_weight("default", 3)
        await act.tenants.set_weight("default", 3)
    acts = [one.act for one in await rows(app)]

    schedule = ["saved", "saved", "paused", "resumed", "run", "deleted"]
    limits = ["limit.set", "limit.removed", "key.blocked", "key.unblocked", "tenant.paused", "tenant.resumed", "quota.set", "quota.removed"]
    assert [*(f"schedule.{word}" for word in schedule), "template.saved", "template.saved", "template.deleted"] == acts[:9]
    assert ["prompt.saved", "batch.sent", "batch.cancelled", *limits, "retention.set", "tenant.weighed"] == acts[9:]


async def test_nobody_is_noted_where_nobody_acts(app):
    """An application that acts for itself leaves no row, nor do plain jobs, nor those who only look."""
    job = await app.enqueue("work")
    await app.cancel(job)
    await app.schedules.create("s", "work", every=60)
    async with app.acting("alice") as act:
        await act.get(job)
        await act.schedules.list()

    assert [] == await rows(app)


async def test_an_act_and_its_row_are_both_or_neither(app):
    """Also where the log refuses the row: then nothing was done."""
    with pytest.raises(ZeroDivisionError):
        async with app.acting("alice") as act:
            await act.enqueue("work")
            raise ZeroDivisionError
    with pytest.raises(asyncpg.CheckViolationError):
        async with app.acting("alice") as act:
            await act.enqueue("work")
            await act.noted(await app.tenant_id(None), "thing.done", "thing:1", text="x" * 9000)

    assert ([], 0) == (await rows(app), await app.queue_size("work"))


async def test_two_who_cancel_one_job_are_one_act(app):
    """Whoever comes second finds it done, and is not noted."""
    job = await app.enqueue("work")

    async def cancel(who: str) -> bool:
        async with app.acting(who) as act:
            return await act.cancel(job)

    done = await asyncio.gather(*(cancel(f"user-{n}") for n in range(4)))

    assert (1, [f"user-{done.index(True)}"]) == (sum(done), [one.actor for one in await rows(app)])


def test_who_acts_has_a_name(app_offline):
    """One that the log can hold."""
    for who in ("", "x" * 501, "a\x00b", None):
        with pytest.raises(InvalidInput, match="need a name"):
            app_offline.acting(who)


async def test_not_even_the_owner_changes_the_log(app):
    """Nor does one who pretends to sweep, nor a sweep that is told to keep nothing."""
    async with app.acting("alice") as act:
        await act.enqueue("work")
    tries = [
        "update trunkline.audit set actor = 'bob'",
        "delete from trunkline.audit",
        "truncate trunkline.audit",
        "truncate trunkline.audit cascade",
    ]
    async with app.store.connection() as conn:
        for lie in ("select 1", "set local trunkline.sweeps_audit = 'on'"):
            for text in tries:
                with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
                    async with conn.transaction():
                        await conn.execute(lie)
                        await conn.execute(text)
        for role in ("trunkline_worker", "trunkline_app"):
            for text in tries:
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    async with conn.transaction():
                        await conn.execute(f"set local role {role}")
                        await conn.execute(text)
    await app.store.fetch("select trunkline.sweep_requests(0, -1e9)")

    assert ["alice"] == [one.actor for one in await rows(app)]


async def test_rows_leave_when_their_time_is_over(app, clock):
    """As AUDIT_RETENTION says, and the others stay."""
    async with app.acting("alice") as act:
        await act.enqueue("work")
    await clock.forward(40 * 86400)
    async with app.acting("bob") as act:
        await act.enqueue("work")
    swept = await app.store.fetchrow("select * from trunkline.sweep_requests(0, $1)", 30 * 86400.0)

    assert (1, ["bob"]) == (swept["acts"], [one.actor for one in await rows(app)])


async def test_the_log_is_asked_by_time_and_by_whom_a_page_at_a_time(app):
    """`since` is in, `until` is not; a filter that finds nothing says so."""
    tenant_id, begun = await app.tenant_id(None), datetime.now(UTC)
    for n in range(5):
        async with app.acting(f"user-{n % 2}") as act:
            await act.noted(tenant_id, "thing.done", [f"thing:{n}", f"thing:{n}-b"])
    log, every = Audit(app.store), await rows(app)
    middle = datetime.fromtimestamp((every[4].id.int >> 80) / 1000, UTC)
    later, earlier = await rows(app, since=middle), await rows(app, until=middle)
    first, behind = await log.list(tenant_id, actor="user-0", limit=4)
    rest, end = await log.list(tenant_id, actor="user-0", limit=4, after=behind)

    assert every == [*earlier, *later] and [*rest[::-1], *first[::-1]] == [one for one in every if one.actor == "user-0"]
    assert end is None and [] == await rows(app, until=begun - timedelta(days=1)) == await rows(app, since=begun + timedelta(days=1))
    assert ["thing:3"] == [one.subject for one in await rows(app, subject="thing:3")] and [] == await rows(app, act="thing.undone")
    assert ([], None) == await log.list(tenant_id + 1)  # another tenant's
    for wrong in ({"since": datetime(2027, 1, 31)}, {"until": datetime.max.replace(tzinfo=UTC)}, {"limit": 0}):  # noqa: DTZ001 - no zone on purpose
        with pytest.raises(InvalidInput):
            await log.list(tenant_id, **wrong)


async def test_a_tenant_that_the_act_makes_is_not_waited_for(app):
    """Its row is written in the transaction that would otherwise wait for itself."""
    async with asyncio.timeout(20), app.acting("alice") as act:
        await act.enqueue("work", tenant="new-1")
        await act.batches.send([("work", 1)], tenant="new-2")
        await act.enqueue_many([act.new_job("work")], tenant="new-3")
    found = [(await Audit(app.store).list(await app.tenant_id(f"new-{n}")))[0] for n in (1, 2, 3)]

    assert [["job.created"], ["batch.sent"], ["jobs.created"]] == [[one.act for one in page] for page in found]


async def test_an_encrypted_kind_is_kept_within_an_act(trunkline_url):
    """The database is asked first: a refusal would have broken the transaction."""
    key = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
    async with Trunkline(trunkline_url, encryption_keys=key) as app:
        await app.store.fetch("select trunkline.seal_kind($1, 'card', 1::smallint)", await app.tenant_id(None))
        async with app.acting("alice") as act:
            await act.schedules.create("s", "card", {"number": 1}, every=60)
            await act.batches.send([("card", {"number": 2})], id=(batch := new_id()))
        found = await rows(app)

        assert ["schedule.saved", "batch.sent"] == [one.act for one in found] and f"batch:{batch}" == found[1].subject
        assert isinstance(found[0].id, UUID) and "number" not in str(found)
