"""Encrypted kinds on the ways in that other features have: batches, flows, spawned jobs, templates, schedules."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest

from tests.engine.test_privacy import application, charging, sealed_kind, stored
from trunkline import Job, new_job
from trunkline.engine.vault import is_sealed
from trunkline.errors import SecretInPayload
from trunkline.store import privacy

CARD = {"card": "4111"}


async def test_children_given_as_tuples_go_by_the_settings_of_the_application(trunkline_url):
    """A field that looks like a secret is what an encrypted kind is for, and other kinds may not have it."""
    async with application(trunkline_url) as app:
        await sealed_kind(app)
        await app.batches.send([("charge", {"api_key": "x"})])
        async with app.batches.open() as batch:
            await batch.add([("charge", {"api_key": "x"})])
        with pytest.raises(SecretInPayload, match=r"job 1 of the batch: payload\.api_key"):
            await app.batches.send([("plain", {}), ("plain", {"api_key": "x"})])

        assert await all_sealed(app)


async def test_what_a_job_spawns_goes_by_the_settings_of_the_application(trunkline_url):
    """Kinds that may have such a field, and the names that were set."""
    async with application(trunkline_url, secret_fields="default,iban") as app:
        await sealed_kind(app)

        @app.job("trusted", allow_secrets=True)
        async def trusted(job: Job) -> None: ...

        @app.job("spawner")
        async def spawner(job: Job) -> str:
            await job.spawn("charge", {"api_key": "x"})
            await job.spawn("trusted", {"api_key": "x"})
            with pytest.raises(SecretInPayload, match="iban"):
                await job.spawn("plain", {"iban": "x"})
            return "spawned"

        await app.start_worker()

        assert "spawned" == await app.wait(await app.enqueue("spawner"), timeout=10)
        assert await all_sealed(app)


async def all_sealed(app: Any) -> bool:
    """Whether every payload of the kind is encrypted."""
    rows = await app.store.fetch("select payload::text from trunkline.jobs where kind = 'charge'")
    return bool(rows) and all(is_sealed(row[0]) for row in rows)


async def test_children_of_batches_and_steps_of_flows_are_encrypted(trunkline_url):
    """Also in the caller's transaction, which no refusal breaks."""
    async with application(trunkline_url) as app:
        await sealed_kind(app)
        await app.batches.send([("charge", CARD), ("plain", {})])
        await app.flows.chain(new_job("charge", CARD), new_job("charge", CARD))
        async with app.batches.open() as batch:
            await batch.add([("charge", CARD)])
    async with application(trunkline_url) as app:  # one that has learned nothing yet
        conn = await asyncpg.connect(trunkline_url)
        async with conn.transaction():
            await app.batches.send([("charge", CARD)], connection=conn)
            await app.flows.send([new_job("charge", CARD)], connection=conn)
        await conn.close()

        assert 6 == await app.store.fetchval("select count(*) from trunkline.jobs where kind = 'charge'")
        assert await all_sealed(app)


async def test_a_stream_of_jobs_is_encrypted_where_it_must_be(trunkline_url):
    """The kind comes up in the middle of a COPY."""
    async with application(trunkline_url) as app:
        await sealed_kind(app)
        kinds = ["plain"] * 1200 + ["charge"] * 300 + ["plain"] * 1000
        for _ in range(2):  # not knowing, and knowing
            done = await app.enqueue_many(new_job(kind, CARD) for kind in kinds)
            assert len(kinds) == len({one.id for one in done})

        assert 2 * len(kinds) == await app.store.fetchval("select count(*) from trunkline.job")
        assert await all_sealed(app)


async def test_what_a_job_spawns_and_reads_of_its_parents_is_encrypted(trunkline_url):
    """Results of parents are opened for the child."""
    async with application(trunkline_url) as app:
        saw: list[Any] = []
        charging(app)

        @app.job("first")
        async def first(job: Job) -> None:
            parent = await job.spawn("charge", CARD, after=False)
            await job.spawn("last", after=False, depends_on=[parent])

        @app.job("last")
        async def last(job: Job) -> None:
            saw.extend((await job.parents()).values())

        await app.start_worker()
        await app.wait(await app.enqueue("first"), 30)
        last_id = await app.store.fetchval("select id from trunkline.jobs where kind = 'last'")
        await app.wait(last_id, 30)

        assert [{"receipt": "4111"}] == [parent.result for parent in saw]
        assert await all_sealed(app)


async def test_callbacks_of_batches_are_sealed_when_they_are_given(trunkline_url):
    """And one from before its kind was encrypted does not keep its batch from ending."""
    async with application(trunkline_url) as app:
        saw: list[Any] = []

        @app.job("work")
        async def work() -> None: ...

        @app.job("charge")
        async def charge(payload: dict) -> None:
            saw.append(payload)

        async with app.batches.open(on_success=new_job("charge", CARD)) as before:
            await before.add([("work", None)])
            await sealed_kind(app)
        own = await app.batches.send([("work", None)], on_success=new_job("charge", {"card": "plain"}))
        sealed = new_job("charge", await app.privacy.seal("charge", {"card": "sealed"}))
        after = await app.batches.send([("work", None)], on_success=sealed)
        await app.start_worker()
        for batch_id in (before.id, own.id, after.id):
            await app.batches.wait(batch_id, 30)
        for row in await app.store.fetch("select id from trunkline.jobs where kind = 'charge'"):
            await app.wait(row[0], 30)

        assert sorted(["4111", "plain", "sealed"]) == sorted(payload["card"] for payload in saw)


async def test_templates_and_schedules_keep_what_was_sealed(trunkline_url):
    """Without a key in the process that makes the job."""
    async with application(trunkline_url) as app:
        charging(app)
        await sealed_kind(app)
        await app.templates.save("card", "charge", await app.privacy.seal("charge", CARD))
        await app.schedules.create("nightly", "charge", every=3600, payload=await app.privacy.seal("charge", CARD))
        ids = [await app.enqueue(template="card"), await app.store.fetchval("select trunkline.enqueue_template('card')")]
        fired = await app.store.fetchrow("select * from trunkline.run_schedule($1, 'nightly')", await app.tenant_id(None))
        await app.start_worker()
        for job_id in ids:
            assert {"receipt": "4111"} == await app.wait(job_id, 30)

        assert fired is not None
        assert 3 == await app.store.fetchval("select count(*) from trunkline.jobs where kind = 'charge'")
        assert await all_sealed(app)
        assert is_sealed((await stored(app, ids[0]))[0])


async def test_templates_refuse_secrets_unless_they_are_allowed(trunkline_url):
    """What was allowed when it was saved is allowed for its jobs."""
    async with application(trunkline_url) as app:
        with pytest.raises(SecretInPayload):
            await app.templates.save("login", "work", {"password": "x"})
        await app.templates.save("login", "work", {"password": "x"}, allow_secrets=True)

        assert await app.enqueue(template="login")
        assert await app.store.fetchval("select trunkline.enqueue_template('login')")


async def test_the_way_around_for_callbacks_is_no_way_around_for_others(trunkline_url):
    """It is on inside one function only."""
    async with application(trunkline_url, None) as app:
        await privacy.seal_kind(app.store, await app.tenant_id(None), "charge", 1)
        async with app.store.connection() as conn, conn.transaction():
            await conn.execute("select trunkline.enqueue('plain', '{}')")

            assert not await conn.fetchval("select current_setting('trunkline.accepted_before', true)")


async def test_nobody_can_say_that_their_payload_was_accepted_before(trunkline_url):
    """The setting is anybody's to set: it says where to look, and only a batch that is just calling back counts. Quotas alike."""
    async with application(trunkline_url, None) as app:
        tenant_id = await app.tenant_id(None)
        await privacy.seal_kind(app.store, tenant_id, "charge", 1)
        await app.limits.quota(queued=0)
        async with app.batches.open(on_success=new_job("plain", {})) as batch:
            for said in ("on", f"{tenant_id} {batch.id}", "1 x", f"{tenant_id} {batch.id}; drop"):
                for kind, refusal in (("charge", "TL009"), ("plain", "TL006")):
                    async with app.store.connection() as conn:
                        with pytest.raises(asyncpg.PostgresError) as error:
                            async with conn.transaction():
                                await conn.execute("select set_config('trunkline.accepted_before', $1, true)", said)
                                await conn.execute("select trunkline.enqueue($1, '{}')", kind)
                    assert refusal == error.value.sqlstate
