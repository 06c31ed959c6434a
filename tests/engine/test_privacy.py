"""Encrypted kinds: what stands in the database, who can read it, and what happens to tokens that were moved or changed."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import Any, Literal

import asyncpg
import msgspec
import pytest
from cryptography.fernet import Fernet

from tests.engine import process_handlers
from trunkline import Job, Trunkline, new_job
from trunkline.engine import privacy as privacy_service
from trunkline.engine.vault import MARK, Vault, is_sealed
from trunkline.errors import InvalidInput, InvalidPayload, InvalidSetting, JobFailed, MustEncrypt, NotReadable
from trunkline.settings import Settings
from trunkline.store import privacy

OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()
SECRET = {"card": "4111 1111 1111 1111", "password": "hunter2"}


class Card(msgspec.Struct):
    """A payload with one value that may be."""

    brand: Literal["visa"]


@asynccontextmanager
async def application(url: str, keys: str | None = OLD, **overrides: Any):
    """An application with these keys on one database."""
    settings = Settings.load({}, database_url=url, encryption_keys=keys, shutdown_timeout_s=5, **overrides)
    async with Trunkline(settings=settings) as app:
        yield app


def charging(app: Trunkline, **policy: Any) -> list[Any]:
    """Declare the encrypted kind `charge`; what its handler saw."""
    saw: list[Any] = []

    @app.job("charge", encrypt=True, retry_limit=0, **policy)
    async def charge(job: Job, payload: dict) -> dict:
        saw.append(payload)
        return {"receipt": payload["card"][-4:]}

    return saw


async def stored(app: Trunkline, job_id: Any) -> tuple[str, str | None]:
    """(payload, result) as they stand in the database."""
    rows = await app.store.fetch("select payload::text from trunkline.job where id = $1", job_id)
    results = await app.store.fetch("select result::text from trunkline.outcome where job_id = $1", job_id)
    return rows[0][0], results[0][0] if results else None


async def sealed_kind(app: Trunkline) -> None:
    """The kind as a worker elsewhere declared it."""
    await privacy.seal_kind(app.store, await app.tenant_id(None), "charge", 3)


async def test_payload_and_result_are_encrypted_in_the_database_and_plain_for_the_handler(trunkline_url):
    """The whole way, and `wait` and `get` open what this process has the key for."""
    async with application(trunkline_url) as app:
        saw = charging(app)
        await app.start_worker()
        job_id = await app.enqueue("charge", SECRET)
        result = await app.wait(job_id, 30)
        view = await app.get(job_id)
        payload, kept = await stored(app, job_id)

    assert ([SECRET], {"receipt": "1111"}) == (saw, result)
    assert (SECRET, {"receipt": "1111"}) == (view.payload, view.result)
    assert is_sealed(payload) and is_sealed(kept)
    assert "hunter2" not in payload and "1111" not in kept


async def test_who_has_no_key_sees_that_it_is_encrypted_and_nothing_else(trunkline_url):
    """And `wait` does not answer something that is not the result."""
    async with application(trunkline_url) as app:
        charging(app)
        await app.start_worker()
        await app.wait(job_id := await app.enqueue("charge", SECRET), 30)
    async with application(trunkline_url, None) as stranger:
        view = await stranger.get(job_id)

        assert ({"$encrypted": "v1"}, {"$encrypted": "v1"}) == (view.payload, view.result)
        with pytest.raises(NotReadable, match="TRUNKLINE_ENCRYPTION_KEYS"):
            await stranger.wait(job_id, 5)


@pytest.mark.parametrize("count", [1, 2, 250], ids=["one", "several", "by-copy"])
async def test_a_producer_that_does_not_know_is_refused_and_then_encrypts(trunkline_url, count):
    """It learns from the refusal; nothing plain is ever written, on any way in."""
    async with application(trunkline_url) as app:
        await sealed_kind(app)
        jobs = [new_job("charge", {"card": str(n)}) for n in range(count)]
        done = await app.enqueue_many(jobs) if count > 1 else [await app.enqueue_checked("charge", {"card": "0"})]
        rows = await app.store.fetch("select payload::text from trunkline.job")

    assert [True] * count == [one.created for one in done]
    assert count == len(rows) and all(is_sealed(row[0]) for row in rows)


async def test_one_refusal_is_enough_to_know_that_a_kind_is_encrypted(trunkline_url):
    """The rest of a bulk is not offered to COPY again, 200 jobs at a time."""
    async with application(trunkline_url) as app:
        await sealed_kind(app)
        await app.enqueue_many(app.new_job("charge", {"card": str(n)}) for n in range(3000))

        assert app._producer.flushes <= 3 + 3  # a COPY and a call that were refused, the question, and a call for each thousand


@pytest.mark.parametrize("options", [{}, {"delay": 60}, {"unique_key": "u"}, {"idempotency_key": "i"}], ids=str)
async def test_a_producer_without_a_key_gets_nothing_in(trunkline_url, options):
    """Fail closed, with what to do."""
    async with application(trunkline_url, None) as app:
        await sealed_kind(app)

        with pytest.raises(MustEncrypt, match="TRUNKLINE_ENCRYPTION_KEYS"):
            await app.enqueue("charge", {"card": "1"}, **options)
        with pytest.raises(MustEncrypt):
            await app.enqueue_many([new_job("charge") for _ in range(300)])
        assert 0 == await app.store.fetchval("select count(*) from trunkline.job")


async def test_a_kind_that_is_encrypted_for_all_tenants_is_so_in_a_new_tenant(trunkline_url):
    """The flag comes with the policy, before the first job."""
    async with application(trunkline_url, None) as app:
        await privacy.seal_kind(app.store, None, "charge", 1)

        with pytest.raises(MustEncrypt):
            await app.enqueue("charge", {"card": "1"}, tenant="brand-new")


async def test_in_the_callers_transaction_it_is_encrypted_without_a_refusal(trunkline_url):
    """A refusal there would cost the caller everything else in it."""
    async with application(trunkline_url) as app:
        await sealed_kind(app)
        conn = await asyncpg.connect(trunkline_url)
        async with conn.transaction():
            job_id = await app.enqueue("charge", {"card": "1"}, connection=conn)
        await conn.close()

        assert is_sealed((await stored(app, job_id))[0])


async def test_a_process_without_a_key_may_pass_on_what_was_sealed(trunkline_url):
    """In both ways of its own."""
    async with application(trunkline_url) as app:
        await sealed_kind(app)
        envelope = dict(await app.privacy.seal("charge", SECRET))
        async with application(trunkline_url, None) as keyless:
            first = await keyless.enqueue("charge", envelope)
            conn = await asyncpg.connect(trunkline_url)
            async with conn.transaction():
                second = await keyless.enqueue("charge", envelope, connection=conn)
            await conn.close()

        assert [SECRET] * 2 == [(await app.get(job_id)).payload for job_id in (first, second)]


async def test_sql_refuses_a_plain_payload_and_takes_a_sealed_one(trunkline_url):
    """In any spelling of the same object; it is kept in the one form that workers know."""
    async with application(trunkline_url) as app:
        saw = charging(app)
        await app.start_worker()
        with pytest.raises(MustEncrypt):
            await app.store.fetch("select trunkline.enqueue('charge', '{\"card\": \"1\"}')")
        envelope = await app.privacy.seal("charge", SECRET)
        spelled = '{ "token" : "' + envelope["token"] + '", "$encrypted" : "v1" }'
        job_id = await app.store.fetchval("select trunkline.enqueue('charge', $1)", spelled)
        await app.wait(job_id, 30)

        assert [SECRET] == saw
        assert is_sealed((await stored(app, job_id))[0])
        assert SECRET == (await app.get(job_id)).payload


async def test_what_seal_made_can_be_enqueued_from_python_and_only_for_its_kind(trunkline_url):
    """It is opened once more at the door."""
    async with application(trunkline_url) as app:
        charging(app)
        await sealed_kind(app)
        job_id = await app.enqueue("charge", await app.privacy.seal("charge", SECRET))

        assert SECRET == (await app.get(job_id)).payload
        kept = msgspec.json.decode(msgspec.json.encode(await app.privacy.seal("charge", SECRET)))  # in somebody's table
        assert SECRET == (await app.get(await app.enqueue("charge", kept))).payload
        with pytest.raises(NotReadable, match="refund"):
            await app.enqueue("charge", await app.privacy.seal("refund", SECRET))


@pytest.mark.parametrize("payload", [{"$encrypted": "v1", "token": "x" * 80}, {"$encrypted": 1}], ids=["form", "name"])
async def test_what_only_looks_encrypted_is_refused_everywhere(trunkline_url, payload):
    """So a value of that form was made by a key, or got past nobody."""
    async with application(trunkline_url) as app:
        with pytest.raises(InvalidPayload, match="encrypted"):
            await app.enqueue("plain", payload, allow_secrets=True)
        with pytest.raises(InvalidPayload, match="encrypted"):
            await app.store.fetch(
                "select trunkline.enqueue('plain', $1, '{\"allow_secrets\": true}')", msgspec.json.encode(payload).decode()
            )

        @app.job("liar", retry_limit=0)
        async def liar() -> dict:
            return payload

        await app.start_worker()
        assert "InvalidPayload" == (await app.wait_ended(await app.enqueue("liar"), 30)).error["type"]


async def moved(app: Trunkline, where: str, **changes: Any) -> Any:
    """Enqueue a job, change its row behind everybody's back, run it; how it ended."""
    job_id = await app.enqueue("charge", SECRET)
    victim = await app.enqueue("charge", {"card": "other"})
    await app.store.fetch(f"update trunkline.job set payload = ({where}) where id = $1", victim, job_id)
    await app.start_worker()
    return await app.wait_ended(victim, 30)


async def test_a_token_that_was_copied_to_another_job_does_not_open(trunkline_url):
    """It names its job."""
    async with application(trunkline_url) as app:
        charging(app)
        job = await moved(app, "select payload from trunkline.job where id = $2")

    assert ("failed", "NotReadable") == (job.state, job.error["type"])
    assert "job" in job.error["message"] and "hunter2" not in str(job)


async def test_a_token_that_was_changed_does_not_open(trunkline_url):
    """One letter is enough."""
    async with application(trunkline_url) as app:
        charging(app)
        job = await moved(
            app,
            "select (left(payload::text, 80) || case substr(payload::text, 81, 1) when 'A' then 'B' else 'A' end "
            "|| substr(payload::text, 82))::json from trunkline.job where id = $2",
        )

    assert ("failed", "NotReadable") == (job.state, job.error["type"])


@pytest.mark.parametrize(
    "tenant_id, kind, what, said",
    [(8, "charge", "payload", "none of the 1 keys"), (7, "refund", "payload", "the kind 'charge'"), (7, "charge", "result", "a payload")],
    ids=["tenant", "kind", "use"],
)
def test_a_token_opens_only_where_it_belongs(tenant_id, kind, what, said):
    """In another tenant not even its key fits."""
    vault, job_id = Vault([OLD]), new_job("x").id
    sealed = vault.seal(7, "charge", job_id, "payload", "{}")

    assert "{}" == vault.open(7, "charge", [job_id], "payload", sealed)
    with pytest.raises(NotReadable, match=said):
        vault.open(tenant_id, kind, [job_id], what, sealed)


async def test_a_worker_with_another_key_leaves_the_job_for_later(trunkline_url):
    """A key that is not rolled out yet mends by itself, so it is retried by the policy."""
    async with application(trunkline_url) as app:
        await sealed_kind(app)
        job_id = await app.enqueue("charge", SECRET)
    async with application(trunkline_url, NEW) as other:

        @other.job("charge", encrypt=True, retry_limit=3, retry_delay=3600)
        async def charge(payload: dict) -> None: ...

        heard = []
        other.on("retrying")(lambda event: heard.append(event))
        await other.start_worker()
        from tests.support.until import until

        event = (await until(lambda: heard, "a retry"))[0]
        assert isinstance(event.error, NotReadable)
        assert "retrying" == (await other.get(job_id)).state


async def test_a_worker_that_declares_no_encryption_still_opens_and_encrypts_what_came_encrypted(trunkline_url):
    """An older worker beside newer ones."""
    async with application(trunkline_url) as app:
        await sealed_kind(app)

        @app.job("charge")
        async def charge(payload: dict) -> Any:
            return payload

        await app.start_worker()
        job_id = await app.enqueue("charge", {"card": "1"})

        assert {"card": "1"} == await app.wait(job_id, 30)
        assert is_sealed((await stored(app, job_id))[1])


async def test_only_what_was_asked_for_is_encrypted(trunkline_url):
    """encrypt="result" and encrypt="payload"."""
    async with application(trunkline_url) as app:

        @app.job("in", encrypt="payload")
        async def in_(payload: dict) -> Any:
            return payload

        @app.job("out", encrypt="result")
        async def out(payload: dict) -> Any:
            return payload

        await app.start_worker()
        for kind, expected in (("in", (True, False)), ("out", (False, True))):
            await app.wait(job_id := await app.enqueue(kind, {"n": 1}), 30)
            assert expected == tuple(map(is_sealed, await stored(app, job_id)))


async def test_jobs_from_before_a_kind_was_encrypted_are_still_run(trunkline_url):
    """Their payload is plain, their result is not."""
    async with application(trunkline_url) as app:
        job_id = await app.enqueue("charge", {"card": "1234"})
        charging(app)
        await app.start_worker()

        assert {"receipt": "1234"} == await app.wait(job_id, 30)
        assert (False, True) == tuple(map(is_sealed, await stored(app, job_id)))


async def test_a_worker_does_not_start_an_encrypted_handler_without_keys(trunkline_url):
    """Rather than to fail its jobs one by one."""
    async with application(trunkline_url, None) as app:
        charging(app)

        with pytest.raises(InvalidSetting, match=r"'charge'.*TRUNKLINE_ENCRYPTION_KEYS"):
            await app.start_worker()


async def test_dead_letter_copies_stay_encrypted_and_can_be_read(trunkline_url):
    """They carry the token of the job they were made of."""
    async with application(trunkline_url) as app:

        @app.job("charge", encrypt=True, retry_limit=0, dead_letter="broken")
        async def charge(payload: dict) -> None:
            raise RuntimeError("no")

        await app.start_worker()
        await app.wait_ended(await app.enqueue("charge", SECRET), 30)
        copy = await app.store.fetchrow("select id, payload::text from trunkline.jobs where queue = 'broken'")

        again = await app.store.fetchrow(  # a copy of a copy, as when the policy names another queue later
            "select trunkline.dead_letter($1, array[$2::uuid], '{buried}'), 1", await app.tenant_id(None), copy[0]
        )
        second = await app.store.fetchval("select id from trunkline.jobs where queue = 'buried'")

        assert again is not None and SECRET == (await app.get(second)).payload
        assert is_sealed(copy[1])
        assert SECRET == (await app.get(copy[0])).payload


async def test_threads_and_processes_get_the_plain_payload(trunkline_url):
    """It is opened in the worker's process."""
    async with application(trunkline_url) as app:
        app.job("process", encrypt=True, process=True)(process_handlers.echo)

        @app.job("thread", encrypt=True)
        def thread(payload: dict) -> dict:
            return payload

        await app.start_worker()
        for kind in ("process", "thread"):
            assert {"text": "x"} == await app.wait(job_id := await app.enqueue(kind, {"text": "x"}), 60)
            assert (True, True) == tuple(map(is_sealed, await stored(app, job_id)))


async def test_checkpoints_and_results_in_a_transaction_are_encrypted(trunkline_url):
    """Whatever an attempt of an encrypted kind writes that is a value."""
    async with application(trunkline_url) as app:
        kept: list[str] = []

        @app.job("charge", encrypt=True)
        async def charge(job: Job, payload: dict) -> None:
            await job.checkpoint({"at": "hunter2"})
            kept.append(await app.store.fetchval("select value::text from trunkline.checkpoint"))
            assert {"at": "hunter2"} == await job.last_checkpoint()
            conn = await asyncpg.connect(trunkline_url)
            async with conn.transaction():
                await job.complete({"receipt": "hunter2"}, connection=conn)
            await conn.close()

        await app.start_worker()
        job_id = await app.enqueue("charge", {})

        assert {"receipt": "hunter2"} == await app.wait(job_id, 30)
        assert is_sealed(kept[0]) and is_sealed((await stored(app, job_id))[1])


async def test_the_size_is_that_of_the_plain_payload(trunkline_url):
    """What encryption adds does not count, what it hides does."""
    async with application(trunkline_url, payload_max_bytes=100_000) as app:
        await sealed_kind(app)
        fits, too_long = {"card": "x" * 99_980}, {"card": "x" * 100_000}
        job_id = await app.enqueue("charge", fits)

        assert len((await stored(app, job_id))[0]) > 130_000
        assert fits == (await app.get(job_id)).payload
        with pytest.raises(InvalidPayload, match="100000 are accepted"):
            await app.enqueue("charge", too_long)
    async with application(trunkline_url, payload_max_bytes=1024 * 1024) as larger:
        envelope = await larger.privacy.seal("charge", {"card": "x" * (1024 * 1024 - 20)})
        assert await larger.store.fetchval("select trunkline.enqueue('charge', $1)", msgspec.json.encode(envelope).decode())
    async with application(trunkline_url, payload_max_bytes=1024) as smaller:
        await sealed_kind(smaller)
        smaller.privacy.sealing.anywhere.add("charge")
        with pytest.raises(InvalidPayload, match="before encryption"):
            await smaller.enqueue("charge", envelope)


async def test_rotation_moves_everything_to_the_first_key(trunkline_url):
    """Payloads, results and checkpoints; then the old key can go."""
    async with application(trunkline_url, OLD) as app:
        charging(app)
        await app.start_worker()
        await app.wait(done := await app.enqueue("charge", SECRET), 30)
        await app.stop_worker()
        waiting = await app.enqueue("charge", SECRET)
        await app.enqueue("plain", {"n": 1})
    async with application(trunkline_url, f"{NEW},{OLD}") as app:
        before = await app.privacy.check()
        moved = await app.privacy.rotate()
        again = await app.privacy.rotate()
    async with application(trunkline_url, NEW) as app:
        after = await app.privacy.check()
        charging(app)
        await app.start_worker()

        assert {("payload", 2): 2, ("result", 2): 1} == before.by_key
        assert (3, 0) == (moved.moved, again.moved)
        assert ({("payload", 1): 2, ("result", 1): 1}, []) == (after.by_key, after.unreadable)
        assert {"receipt": "1111"} == await app.wait(waiting, 30)
        assert {"receipt": "1111"} == await app.wait(done, 30)


async def test_a_rotation_that_was_broken_off_is_gone_on_with(trunkline_url, monkeypatch):
    """What is done stays done."""
    monkeypatch.setattr(privacy_service, "PAGE_ROWS", (3, 3))
    async with application(trunkline_url, OLD) as app:
        await sealed_kind(app)
        await app.enqueue_many([new_job("charge", {"card": str(n)}) for n in range(10)])

    def break_off(report: Any) -> None:
        if report.moved >= 6:
            raise KeyboardInterrupt

    async with application(trunkline_url, f"{NEW},{OLD}") as app:
        with pytest.raises(KeyboardInterrupt):
            await app.privacy.rotate(break_off)
        left = await app.privacy.rotate()

        assert ({("payload", 1): 6, ("payload", 2): 4}, 4) == (left.by_key, left.moved)
        assert {("payload", 1): 10} == (await app.privacy.check()).by_key


async def test_jobs_run_while_their_keys_are_rotated(trunkline_url):
    """Claims, acks and retries meet a rotation at every step; nothing is lost and nothing stays behind."""
    async with application(trunkline_url, OLD) as app:
        await sealed_kind(app)
        ids = [done.id for done in await app.enqueue_many([new_job("charge", {"card": f"{n:04}"}) for n in range(200)])]
    async with application(trunkline_url, f"{NEW},{OLD}") as app:

        @app.job("charge", encrypt=True, retry_delay=0)
        async def charge(job: Job, card: str) -> str:
            if job.attempt == 1 and card.endswith("0"):
                raise RuntimeError("once more")
            return card

        await app.start_worker(concurrency=20)
        while not all([(await app.get(job_id)).is_terminal for job_id in ids[-3:]]):
            await app.privacy.rotate()
        results = [await app.wait(job_id, 30) for job_id in ids]
        await app.privacy.rotate()

        assert [f"{n:04}" for n in range(200)] == results
        assert {("payload", 1): 200, ("result", 1): 200} == (await app.privacy.check()).by_key


async def test_values_that_no_key_opens_are_counted_and_left_alone(trunkline_url):
    """A rotation must not lose what a key that turns up again could read."""
    async with application(trunkline_url, OLD) as app:
        await sealed_kind(app)
        job_id = await app.enqueue("charge", SECRET)
        before = await stored(app, job_id)
    async with application(trunkline_url, NEW) as app:
        report = await app.privacy.rotate()

        assert ({("payload", 0): 1}, [job_id], 0) == (report.by_key, report.unreadable, report.moved)
        assert before == await stored(app, job_id)


async def test_reseal_is_fenced_and_replaces_sealed_by_sealed_only(trunkline_url):
    """The one function that changes a body cannot be used for anything else."""
    async with application(trunkline_url, OLD) as app:
        await sealed_kind(app)
        job_id, plain = await app.enqueue("charge", SECRET), await app.enqueue("plain", {"n": 1})
        tenant_id, (old, _) = await app.tenant_id(None), await stored(app, job_id)
        other = f'{MARK}{"A" * 60}"}}'

        assert 0 == await privacy.reseal(app.store, tenant_id, "payload", [(job_id, other, other)])
        assert 0 == await privacy.reseal(app.store, tenant_id + 1, "payload", [(job_id, old, other)])
        for before, after in (('{"n":1}', other), (old, '{"n":2}')):
            with pytest.raises(InvalidInput, match="reseal"):
                await privacy.reseal(app.store, tenant_id, "payload", [(plain, before, after)])
        assert 1 == await privacy.reseal(app.store, tenant_id, "payload", [(job_id, old, other)])


async def test_encryption_ends_when_somebody_says_so_and_not_by_an_older_worker(trunkline_url):
    """Declaring adds, `stop` takes away."""
    async with application(trunkline_url) as app:
        charging(app)
        await app.start_worker()
        await app.stop_worker()
    async with application(trunkline_url, None) as older:

        @older.job("charge")
        async def charge(payload: dict) -> None: ...

        await older.start_worker()
        assert await older.privacy.is_encrypted("charge")
        await older.privacy.stop("charge")
        await older.wait(await older.enqueue("charge", {"card": "1"}), 30)


async def test_a_missing_package_is_a_sentence(monkeypatch):
    """It is an extra."""
    import sys

    monkeypatch.setitem(sys.modules, "cryptography.fernet", None)

    with pytest.raises(InvalidSetting, match=r"Install trunkline\[encryption\]"):
        Trunkline("postgresql://nobody@localhost/nothing", encryption_keys=OLD)


@pytest.mark.parametrize("keys", ["short", f"{OLD},short", OLD[:-1], f"{OLD} {NEW}"], ids=["short", "second", "cut", "blank"])
def test_a_wrong_key_stops_the_start_and_is_not_repeated(keys):
    """Not even when it is the message's subject."""
    with pytest.raises(InvalidSetting, match=r"TRUNKLINE_ENCRYPTION_KEYS.*trunkline keys generate") as caught:
        Settings.load({"TRUNKLINE_ENCRYPTION_KEYS": keys})

    assert "short" not in str(caught.value) and OLD[:20] not in str(caught.value)


def test_settings_do_not_show_their_keys():
    """Whoever prints them."""
    settings = Settings.load({"TRUNKLINE_ENCRYPTION_KEYS": f"{NEW}, {OLD}"})

    assert (NEW, OLD) == settings.keys
    assert OLD not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"


async def test_an_error_about_a_payload_that_does_not_fit_says_where_and_no_value(trunkline_url):
    """Errors are stored in plain text."""

    async with application(trunkline_url) as app:

        @app.job("pay", encrypt=True, retry_limit=0)
        async def pay(payload: Card) -> None: ...

        await app.start_worker()
        with pytest.raises(JobFailed, match=r"payload of 'pay' does not fit: Invalid enum value - at `\$.brand`") as error:
            await app.wait(await app.enqueue("pay", {"brand": "4111 - at 1111"}), 30)

        assert "1111" not in str(error.value)
