"""Payloads of encrypted kinds that are kept before there is a job: templates, schedules, callbacks of batches."""

from __future__ import annotations

from typing import Any

import pytest

from tests.engine.test_privacy import NEW, OLD, application, charging, sealed_kind
from trunkline import Trunkline, new_job
from trunkline.engine.vault import is_sealed
from trunkline.errors import InvalidPayload, MustEncrypt, NotReadable, SecretInPayload

CARD = {"card": "4111", "password": "hunter2"}
HIDDEN = {"$encrypted": "v1"}


async def kept(app: Trunkline, table: str, name: str) -> str:
    """A payload as it stands in the database."""
    return str(await app.store.fetchval(f"select payload::text from trunkline.{table} where name = $1", name))


async def fire(app: Trunkline, name: str) -> Any:
    """What the schedule's job answers, as its worker fires and runs it."""
    return await app.wait(await app.schedules.run_now(name), 30)


async def test_plain_payloads_given_to_schedules_and_templates_are_encrypted(trunkline_url):
    """By a process that learns of it from the refusal; firing works, people are shown that it is encrypted."""
    async with application(trunkline_url) as app:
        await sealed_kind(app)
        await app.templates.save("card", "charge", CARD)
        await app.schedules.create("nightly", "charge", CARD, every=3600)
        await app.schedules.create("by-template", template="card", every=3600)
        charging(app)
        await app.start_worker()

        assert is_sealed(await kept(app, "template", "card")) and is_sealed(await kept(app, "schedule", "nightly"))
        assert (HIDDEN, HIDDEN) == ((await app.templates.get("card")).payload, (await app.schedules.get("nightly")).payload)
        assert [{"receipt": "4111"}] * 2 == [await fire(app, name) for name in ("nightly", "by-template")]


async def test_a_schedule_without_a_payload_fires_an_encrypted_kind(trunkline_url):
    """The empty payload is a payload."""
    async with application(trunkline_url) as app:
        await sealed_kind(app)
        await app.schedules.create("nightly", "charge", every=3600)

        assert (await app.get(await app.schedules.run_now("nightly"))).payload == {}


async def test_a_declared_schedule_of_an_encrypted_kind_is_written_once(trunkline_url):
    """Every encryption differs; an unchanged declaration must not rewrite it at each start."""

    def declared(app: Trunkline, card: str) -> None:
        @app.schedule(every=3600, payload={**CARD, "card": card})
        @app.job("charge", encrypt=True)
        async def charge(payload: dict) -> dict:
            return {"receipt": payload["card"]}

    texts = []
    for keys, card in ((OLD, "1"), (OLD, "1"), (f"{NEW},{OLD}", "1"), (OLD, "2")):
        async with application(trunkline_url, keys) as app:
            declared(app, card)
            await app.start_worker()
            texts.append((await kept(app, "schedule", "charge"), await app.store.fetchval("select updated_at from trunkline.schedule")))
            assert {"receipt": card} == await fire(app, "charge")

    assert texts[0] == texts[1] == texts[2]
    assert texts[3] != texts[2] and is_sealed(texts[3][0])


async def test_changing_a_schedule_keeps_its_encrypted_payload(trunkline_url):
    """A change of the rule or an option says nothing about the payload; another kind needs it anew."""
    async with application(trunkline_url) as app:
        await sealed_kind(app)
        await app.schedules.create("nightly", "charge", CARD, every=3600)
        before = await kept(app, "schedule", "nightly")
        await app.schedules.update("nightly", every=60, priority=7)
        same = await kept(app, "schedule", "nightly")
        await app.schedules.update("nightly", kind="plain", allow_secrets=True)

        assert before == same
        assert CARD == (await app.get(await app.schedules.run_now("nightly"))).payload


async def test_fields_go_over_an_encrypted_template_where_the_key_is(trunkline_url):
    """A process without it is told so, and a schedule cannot keep them."""
    async with application(trunkline_url) as app:
        await sealed_kind(app)
        charging(app)
        await app.templates.save("card", "charge", {**CARD, "amount": 12345678901234567890})
        await app.start_worker()
        job_id = await app.enqueue(template="card", payload={"card": "42 4242"})
        await app.wait(job_id, 30)
        with pytest.raises(InvalidPayload, match="cannot be merged"):
            await app.schedules.create("nightly", template="card", every=60, payload={"card": "5"})

        assert {**CARD, "card": "42 4242", "amount": 12345678901234567890} == (await app.get(job_id)).payload
    async with application(trunkline_url, None) as stranger:
        with pytest.raises(NotReadable, match="TRUNKLINE_ENCRYPTION_KEYS"):
            await stranger.enqueue(template="card", payload={"card": "5"})


async def test_who_has_no_key_cannot_keep_a_plain_payload(trunkline_url):
    """Neither by Python nor by SQL; the hint says what to do."""
    async with application(trunkline_url, None) as app:
        await sealed_kind(app)
        for refused in (
            app.templates.save("card", "charge", {"card": 1}),
            app.schedules.create("nightly", "charge", {"card": 1}, every=60),
            app.store.fetch("select trunkline.save_template(1, 'card', 'charge', '{\"card\": 1}')"),
            app.store.fetch("select trunkline.schedule_job('nightly', 'charge', 'every 1 minute', '{\"card\": 1}')"),
            app.store.fetch("select trunkline.schedule_job('nightly', 'charge', 'every 1 minute')"),
        ):
            with pytest.raises(MustEncrypt, match="TRUNKLINE_ENCRYPTION_KEYS") as error:
                await refused
            assert "\n" not in str(error.value)

        assert ([], []) == (await app.templates.list(), await app.schedules.list())


async def test_secrets_are_refused_when_they_are_to_be_kept(trunkline_url):
    """By SQL as by Python; what the settings of an application allow is allowed for its firings, too."""
    async with application(trunkline_url) as app:
        with pytest.raises(SecretInPayload):
            await app.store.fetch("select trunkline.save_template(1, 'login', 'work', '{\"password\": \"x\"}')")
        with pytest.raises(SecretInPayload):
            await app.store.fetch("select trunkline.schedule_job('login', 'work', 'every 1 minute', '{\"password\": \"x\"}')")
    async with application(trunkline_url, secret_fields="off") as app:
        await app.schedules.create("login", "work", {"password": "x"}, every=60)

        assert await app.schedules.run_now("login")


async def test_a_worker_encrypts_what_was_kept_before_its_kind_was_encrypted(trunkline_url):
    """Else its firings would be refused from then on."""
    async with application(trunkline_url) as app:
        await app.templates.save("card", "charge", {"card": "4111"})
        await app.schedules.create("nightly", "charge", {"card": "4242"}, every=3600)
        await app.schedules.create("by-template", template="card", every=3600)
        async with app.batches.open(on_success=new_job("charge", {"card": "1111"})) as batch:
            charging(app)
            await app.start_worker()
            spec = await app.store.fetchval("select on_success -> 'payload' from trunkline.batch where batch_id = $1", batch.id)

        assert is_sealed(spec)
        assert is_sealed(await kept(app, "template", "card")) and is_sealed(await kept(app, "schedule", "nightly"))
        assert [{"receipt": "4242"}, {"receipt": "4111"}] == [await fire(app, name) for name in ("nightly", "by-template")]


async def test_rotation_takes_what_is_kept_along(trunkline_url):
    """After it the old key can go: what is kept still makes jobs that run."""
    async with application(trunkline_url) as app:
        await sealed_kind(app)
        await app.templates.save("card", "charge", {"card": "4111"})
        await app.schedules.create("nightly", "charge", {"card": "4242"}, every=3600)
        async with (
            app.batches.open(on_success=new_job("charge", {"card": "1111"})) as batch,
            application(trunkline_url, f"{NEW},{OLD}") as rotating,
        ):
            before = await rotating.privacy.check()
            report = await rotating.privacy.rotate()
            after = await rotating.privacy.check()
    async with application(trunkline_url, NEW) as app:
        charging(app)
        await app.start_worker()
        await app.batches.wait(batch.id, 30)
        done = await app.batches.get(batch.id)

        assert {("template", 2): 1, ("schedule", 2): 1, ("callback", 2): 1} == dict(before.by_key)
        assert (3, {("template", 1): 1, ("schedule", 1): 1, ("callback", 1): 1}) == (report.moved, dict(after.by_key))
        assert {"receipt": "4242"} == await fire(app, "nightly")
        assert {"receipt": "4111"} == await app.wait(await app.enqueue(template="card"), 30)
        assert {"receipt": "1111"} == await app.wait(done.success_job, 30)
