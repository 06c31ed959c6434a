"""`select trunkline.enqueue(...)`: the sentence for psql and for other languages, and what it refuses."""

from __future__ import annotations

import json

import asyncpg
import pytest

from trunkline.errors import BadId, InvalidInput, InvalidPayload

SEND = "select trunkline.enqueue($1, $2::json, $3::jsonb)"


async def send(queue, payload: str | None = "{}", options: str | None = "{}", kind: str | None = "work"):
    """Enqueue from plain SQL; the id."""
    return await queue.store.fetchval(SEND, kind, payload, options)


async def test_one_argument_is_enough(queue):
    """The shortest sentence."""
    job_id = await queue.store.fetchval("select trunkline.enqueue('work')")
    view = await queue.view(job_id)

    assert ("work", "work", "queued", {}, 0, None) == (view.kind, view.queue, view.state, view.payload, view.priority, view.options)


async def test_every_option_arrives(queue):
    """The words are the same as in Python."""
    options = {
        "queue": "q",
        "priority": 9,
        "delay": 30,
        "user_id": "ann",
        "retry_limit": 7,
        "retry_delay": 1.5,
        "retry_backoff": False,
        "retry_max_delay": 9,
        "retry_jitter": 0.5,
        "timeout": 60,
        "dead_letter": "dead",
        "unique_key": "u",
        "unique_for": 60,
        "unique_replace": True,
        "idempotency_key": "i",
        "idempotency_window": 5,
        "traceparent": "00-1-2-3",
    }
    view = await queue.view(await send(queue, '{"a": 1}', json.dumps(options)))
    kept = {name: value for name, value in options.items() if name not in ("queue", "priority", "user_id", "idempotency_key")}

    assert ("q", 9, "scheduled", "ann", kept) == (view.queue, view.priority, view.state, view.user_id, view.options)


async def test_a_tenant_is_named_last_and_made_on_first_use(queue, store):
    """Another customer's job is not in ours."""
    job_id = await store.fetchval("select trunkline.enqueue('work', '{}', '{}', 'customer-001')")
    theirs = await type(queue).open(store, tenant="customer-001")

    assert (None, "queued") == (await queue.state(job_id), await theirs.state(job_id))


async def test_an_id_of_the_callers_own_is_kept_and_checked(queue):
    """A UUIDv7 of today, or nothing."""
    own = await queue.store.fetchval("select trunkline.new_id()")

    assert own == await send(queue, options=json.dumps({"id": str(own)}))
    for bad in ("nonsense", "00000000-0000-4000-8000-000000000000", "{" + str(own) + "}"):
        with pytest.raises(BadId):
            await send(queue, options=json.dumps({"id": bad}))


async def test_nulls_among_the_options_are_nothing(queue):
    """Generated code sends every field."""
    view = await queue.view(
        await send(queue, options='{"timeout": null, "priority": null, "run_at": null, "id": null, "expires_at": null}')
    )

    assert ("queued", 0, None) == (view.state, view.priority, view.options)


async def test_null_options_are_no_options(queue):
    """So is SQL's null."""
    assert "queued" == await queue.state(await send(queue, options=None))


async def test_a_payload_that_could_not_be_read_back_is_refused(queue):
    """Size, depth and U+0000 are checked at this door too."""
    refused = {
        "too large": json.dumps("x" * (1024 * 1024)),
        "too deep": "[" * 65 + "]" * 65,
        "too deep objects": '{"a":' * 70 + "1" + "}" * 70,
        "nul": '"\\u0000"',
        "nul in a name": '{"a\\u0000b": 1}',
        "nul after an escaped backslash": '"\\\\\\u0000"',
        "null": None,
    }
    for what, payload in refused.items():
        with pytest.raises(InvalidPayload):
            pytest.fail(f"{what} was accepted as {await send(queue, payload)}")

    assert 0 == await queue.count("job")


async def test_a_payload_at_the_limits_is_accepted_as_it_was_written(queue):
    """It is opaque text from the door to the handler."""
    accepted = {
        "largest": json.dumps("x" * (1024 * 1024 - 2)),
        "deepest": "[" * 64 + "]" * 64,
        "brackets in text": '"' + "[" * 500 + '"',
        "escapes and brackets in text": '["a\\"[[[[[\\\\", "' + "{" * 100 + '"]',
        "backslash u0000 as text": '"\\\\u0000"',
        "json null": "null",
        "huge number": "1e400",
        "a name twice": '{"a": 1, "a": 2}',
    }
    for payload in accepted.values():
        await send(queue, payload)

    assert list(accepted.values()) == [c.payload for c in await queue.claim(100)]


REFUSED_OPTIONS = [
    '{"prioritty": 1}',
    '{"priority": 101}',
    '{"priority": -1}',
    '{"priority": 5.5}',
    '{"priority": "5"}',
    '{"priority": true}',
    '{"delay": -1}',
    '{"delay": "soon"}',
    '{"delay": 1e300}',
    '{"delay": 1, "run_at": "2030-01-01T00:00:00Z"}',
    '{"run_at": "whenever"}',
    '{"run_at": "infinity"}',
    '{"run_at": 5}',
    '{"expires_at": "2030-99-99"}',
    '{"expires_at": 1}',
    '{"retry_limit": 1.5}',
    '{"retry_limit": 1001}',
    '{"retry_limit": "3"}',
    '{"retry_jitter": 1.1}',
    '{"retry_backoff": "banana"}',
    '{"retry_backoff": 1}',
    '{"unique_replace": "yes"}',
    '{"timeout": "60"}',
    '{"timeout": 0}',
    '{"timeout": 2592001}',
    '{"unique_for": 0}',
    '{"idempotency_window": -1}',
    '{"queue": "a/b"}',
    '{"queue": ""}',
    '{"queue": 5}',
    '{"dead_letter": "a\\nb"}',
    '{"unique_key": ""}',
    '{"unique_key": {"a": 1}}',
    json.dumps({"unique_key": "x" * 501}),
    json.dumps({"idempotency_key": "x" * 501}),
    '{"user_id": 7}',
    "[]",
    "5",
    '"text"',
]


async def test_options_that_no_worker_could_read_are_refused(queue):
    """One bad option in a stored job would make every report of its flush fail, so it must not get in."""
    for options in REFUSED_OPTIONS:
        with pytest.raises(InvalidInput):
            pytest.fail(f"{options} was accepted as {await send(queue, options=options)}")

    assert 0 == await queue.count("job")


async def test_a_bad_kind_is_refused(queue):
    """Its name is that of a handler and of a queue."""
    for kind in (None, "", "a/b", "x" * 201):
        with pytest.raises(InvalidInput):
            await send(queue, kind=kind)


@pytest.mark.parametrize("text", ["2031-05-06T07:08:09Z", "2031-05-06 09:08:09+02", "2031-05-06 07:08:09", "2031-05-06T07:08:09.5+00:00"])
async def test_times_are_kept_in_the_one_form_that_workers_read(queue, text):
    """PostgreSQL reads many; a time without a zone is UTC."""
    from datetime import UTC, datetime

    view = await queue.view(await send(queue, options=json.dumps({"expires_at": text})))

    assert datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC) == datetime.fromisoformat(view.options["expires_at"]).replace(microsecond=0)


async def test_enqueue_commits_and_rolls_back_with_the_statement_around_it(queue, sessions):
    """A trigger or a transaction may call it."""
    conn = await sessions.connect()
    with pytest.raises(asyncpg.DivisionByZeroError):
        await conn.execute("begin; select trunkline.enqueue('work'); select 1 / 0; commit")
    await conn.execute("rollback")
    before = await queue.count("job")
    await conn.execute("begin; select trunkline.enqueue('work'); commit")

    assert (0, 1) == (before, await queue.count("job"))


async def test_a_message_says_what_was_wrong_with_the_value(queue):
    """What happened, with the value, then what to do."""
    with pytest.raises(InvalidInput, match=r"option priority is 101: need a number from 0 to 100"):
        await send(queue, options='{"priority": 101}')
    with pytest.raises(InvalidInput, match=r"option prioritty is 1: need to be one of .*priority"):
        await send(queue, options='{"prioritty": 1}')
