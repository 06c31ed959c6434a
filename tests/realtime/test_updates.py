"""What an application says, from any process, and what a job's history shows."""

from __future__ import annotations

import json

import pytest
from cryptography.fernet import Fernet

from tests.support.until import until
from trunkline import Job, Trunkline
from trunkline.errors import InvalidInput, InvalidPayload, NotFound
from trunkline.settings import Settings


@pytest.fixture
async def heard(app: Trunkline) -> list:
    """Everything that the default tenant's watchers are told."""
    events: list = []
    stream = await app.stream()
    stream.subscribe(events.extend)
    stream.watch(await app.tenant_id(None))
    await stream.ready(await app.tenant_id(None))
    return events


async def test_what_another_process_says_is_heard(app, heard, trunkline_url):
    """In its words; to all, to one user, about a job."""
    job_id = await app.enqueue("work", {})
    async with Trunkline(settings=Settings.load({}, database_url=trunkline_url)) as other:
        await other.updates.emit_job_update(job_id, "reading", {"page": 1})
        await other.updates.emit_job_progress(job_id, 12.5, "an eighth")
        await other.updates.emit_job_completed(job_id, {"pages": 8})
        await other.updates.emit_job_error(job_id, ValueError("no"))
        await other.updates.broadcast_to_all("maintenance", {"at": "noon"})
        await other.updates.emit_to_user("u-1", "hello")
    await until(lambda: len(heard) == 7, "all is heard")

    assert [
        ("update", "reading", {"page": 1}),
        ("progress", "in_progress", {"percentage": 12.5, "message": "an eighth"}),
        ("completed", "completed", {"pages": 8}),
        ("failed", "failed", {"type": "ValueError", "message": "no"}),
        ("broadcast", "maintenance", {"at": "noon"}),
        ("broadcast", "hello", None),
    ] == [(event.what, event.status, json.loads(event.data)) for event in heard[1:]]
    assert [job_id] * 4 + [None] * 2 == [event.job_id for event in heard[1:]]
    assert [None, "u-1"] == [event.user_id for event in heard[5:]]
    assert all(event.is_said and not event.is_terminal for event in heard[1:])


async def test_what_is_said_in_a_transaction_is_heard_when_it_commits(app, heard):
    """On the caller's own connection; never, where it rolls back."""
    job_id = await app.enqueue("work", {})
    async with app.store.connection() as conn:
        transaction = conn.transaction()
        await transaction.start()
        await app.updates.emit_job_update(job_id, "never", connection=conn)
        await transaction.rollback()
        async with conn.transaction():
            await app.updates.emit_job_update(job_id, "first", connection=conn)
            await app.updates.broadcast_to_all("second", connection=conn)
            await app.updates.emit_job_update(await app.enqueue("work", {}), "before", {})
            await until(lambda: any(event.status == "before" for event in heard), "what committed earlier is heard")
            assert not {"first", "second"} & {event.status for event in heard}
    await until(lambda: {"first", "second"} <= {event.status for event in heard}, "the rest is heard")

    assert "never" not in {event.status for event in heard}


async def test_history_shows_moves_and_words_newest_first(app):
    """Nobody watched."""

    @app.job("work")
    async def work(job: Job) -> dict:
        await job.progress(50, "half")
        await app.updates.emit_job_update(job.id, "nearly", {"n": 1})
        return {"ok": True}

    await app.start_worker()
    job_id = await app.enqueue("work", {})
    await app.wait(job_id, 20)
    entries = await app.updates.get_job_history(job_id)

    assert ["completed", "started", "queued"] == [entry.status for entry in entries if not entry.is_said]
    assert {"nearly", "in_progress"} == {entry.status for entry in entries if entry.is_said}
    assert b'{"ok":true}' == entries[0].data
    assert entries[:2] == await app.updates.get_job_history(job_id, limit=2)


async def test_results_of_encrypted_kinds_are_opened_where_the_key_is(trunkline_url):
    """As `app.get` does; elsewhere a watcher learns that there is one."""
    settings = {"database_url": trunkline_url}
    async with (
        Trunkline(settings=Settings.load({}, encryption_keys=Fernet.generate_key().decode(), **settings)) as mine,
        Trunkline(settings=Settings.load({}, **settings)) as blind,
    ):

        @mine.job("pay", encrypt=True)
        async def pay(job: Job) -> dict:
            return {"receipt": "1111"}

        told: dict[str, list] = {"mine": [], "blind": []}
        for name, app in (("mine", mine), ("blind", blind)):
            stream = await app.stream()
            stream.subscribe(told[name].extend)
            stream.watch(await app.tenant_id(None))
            await stream.ready(await app.tenant_id(None))
        await mine.start_worker()
        job_id = await mine.enqueue("pay", {"card": 1})
        await mine.wait(job_id, 20)
        await until(lambda: all(events and events[-1].what == "completed" for events in told.values()), "both hear the end")

        assert [{"receipt": "1111"}, {"$encrypted": "v1"}] == [json.loads(told[name][-1].data) for name in ("mine", "blind")]
        histories = [await app.updates.get_job_history(job_id) for app in (mine, blind)]
        assert [{"receipt": "1111"}, {"$encrypted": "v1"}] == [json.loads(entries[0].data) for entries in histories]


async def test_what_cannot_be_said_is_refused_with_a_sentence(app):
    """Before anything is written."""
    job_id, say = await app.enqueue("work", {}), app.updates
    refused = [
        (InvalidInput, say.emit_job_update(job_id, "")),
        (InvalidInput, say.emit_job_update(job_id, "x" * 101)),
        (InvalidInput, say.emit_job_progress(job_id, 101)),
        (InvalidInput, say.emit_job_progress(job_id, True)),
        (InvalidInput, say.emit_to_user("", "x")),
        (InvalidInput, say.broadcast_to_all("")),
        (InvalidInput, say.get_job_history(job_id, limit=101)),
        (InvalidPayload, say.emit_job_update(job_id, "x", "y" * 70_000)),
        (InvalidPayload, say.broadcast_to_all("x", float("nan"))),
        (NotFound, say.emit_job_update("0197aaaa-0000-7000-8000-000000000000", "x")),
        (NotFound, say.get_job_history("0197aaaa-0000-7000-8000-000000000000")),
        (NotFound, say.emit_job_update(job_id, "x", tenant="nobody")),
    ]
    for error, call in refused:
        with pytest.raises(error):
            await call
