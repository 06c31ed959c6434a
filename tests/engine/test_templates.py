"""Templates: jobs made by name, with the caller's payload and options over the template's."""

from __future__ import annotations

import json

import asyncpg
import pytest

from tests.support.sessions import Sessions
from trunkline.errors import InvalidInput, InvalidPayload, NotFound


@pytest.fixture
async def sessions(trunkline_url, app):
    """Further connections to the test's database."""
    sessions = Sessions(trunkline_url, app.store)
    yield sessions
    await sessions.close()


@pytest.fixture
async def nightly(app):
    """A template with fields and options."""
    await app.templates.save(
        "nightly", "build_report", {"path": "/all", "deep": {"a": 1}}, priority=5, retry_limit=9, unique_key="n", queue="slow"
    )
    return "nightly"


async def test_a_job_starts_from_its_template(app, nightly):
    """Kind, payload and options."""
    job = await app.get(await app.enqueue(template=nightly))

    assert ("build-report", "slow", 5) == (job.kind, job.queue, job.priority)
    assert {"path": "/all", "deep": {"a": 1}} == job.payload
    assert {"retry_limit": 9, "unique_key": "n"} == job.options


async def test_the_callers_fields_and_options_win(app, nightly):
    """Fields are merged one level deep; None takes an option away."""
    job = await app.get(await app.enqueue(None, {"deep": 2, "new": [1]}, template=nightly, priority=7, unique_key=None, queue=None))

    assert {"path": "/all", "deep": 2, "new": [1]} == job.payload
    assert ("build-report", 7, {"retry_limit": 9}) == (job.queue, job.priority, job.options)


async def test_sql_says_the_same(app, nightly):
    """One rule for both."""
    ours = await app.enqueue(None, {"deep": None, "x": 1}, template=nightly, unique_key=None, timeout=9)
    theirs = await app.store.fetchval(
        "select trunkline.enqueue_template('nightly', $1, $2)", '{"deep": null, "x": 1}', '{"unique_key": null, "timeout": 9}'
    )
    one, other = await app.get(ours), await app.get(theirs)

    assert (one.kind, one.queue, one.priority, one.payload, one.options) == (
        other.kind,
        other.queue,
        other.priority,
        other.payload,
        other.options,
    )


async def test_what_is_no_object_replaces_the_payload(app, nightly):
    """There are no fields to merge."""
    await app.templates.save("list", "work", [1, 2])
    payloads = [
        (await app.get(await app.enqueue(None, payload, template=name, unique_key=None))).payload
        for name, payload in (("list", {"a": 1}), ("list", None), (nightly, [3]), (nightly, 0))
    ]

    assert [{"a": 1}, [1, 2], [3], 0] == payloads


async def test_values_keep_their_text(app):
    """A number that no float holds goes through SQL as it was written."""
    await app.store.fetch(
        """select trunkline.save_template(trunkline.tenant_id('default'), 't', 'work', '{"a": 1.00000000000000000001, "b": 1E400}')"""
    )
    job_id = await app.store.fetchval("""select trunkline.enqueue_template('t', '{"b": 2.50, "\\u00e9": 1}')""")
    text = await app.store.fetchval("select payload from trunkline.job where id = $1", job_id)

    assert {"a": "1.00000000000000000001", "b": "2.50", "é": "1"} == json.loads(text, parse_float=str, parse_int=str)


async def test_a_job_from_a_template_commits_with_your_transaction(app, nightly):
    """As any other."""
    async with app.store.connection() as conn:
        transaction = conn.transaction()
        await transaction.start()
        job_id = await app.enqueue(template=nightly, connection=conn)
        await transaction.rollback()

    with pytest.raises(NotFound):
        await app.get(job_id)


async def test_many_jobs_come_from_one_template(app, nightly):
    """As values for enqueue_many."""
    jobs = [await app.templates.job(nightly, {"n": n}, unique_key=None) for n in range(3)]
    made = await app.enqueue_many(jobs)

    assert [0, 1, 2] == [(await app.get(one.id)).payload["n"] for one in made]


async def test_saving_again_replaces_and_deleting_leaves_the_jobs(app, nightly):
    """A job stays what it was made as."""
    job_id = await app.enqueue(template=nightly)
    await app.templates.save("nightly", "other", 5)
    replaced = await app.templates.get("nightly")
    answers = [await app.templates.delete("nightly") for _ in range(2)]

    assert ("other", 5, {}) == (replaced.kind, replaced.payload, replaced.options)
    assert ([True, False], "build-report") == (answers, (await app.get(job_id)).kind)
    for lost in (app.templates.get("nightly"), app.enqueue(template="nightly"), app.templates.job("nightly")):
        with pytest.raises(NotFound, match="template 'nightly'"):
            await lost


async def test_templates_are_their_tenants_own(app, nightly):
    """The same name elsewhere is another template."""
    await app.templates.save("nightly", "theirs", tenant="other")
    found = {tenant: [one.kind for one in await app.templates.list(tenant=tenant)] for tenant in ("default", "other")}

    assert {"default": ["build-report"], "other": ["theirs"]} == found
    with pytest.raises(NotFound, match="'third'"):
        await app.templates.list(tenant="third")


async def test_what_cannot_be_a_template_is_refused_with_a_sentence(app):
    """From Python and from SQL; nothing is saved."""
    for arguments, options, message in (
        (("a/b", "work"), {}, "template name"),
        (("t", "a/b"), {}, "kind name"),
        (("t", "work", float("inf")), {}, "inf"),
        (("t", "work", "\0"), {}, "u0000"),
        (("t", "work"), {"id": "x"}, "option id belongs to one job"),
        (("t", "work"), {"depends_on": ["x"]}, "belongs to one job"),
        (("t", "work"), {"priority": 101}, "priority is 101"),
        (("t", "work"), {"colour": 1}, "colour"),
    ):
        with pytest.raises(InvalidInput, match=message):
            await app.templates.save(*arguments, **options)
    for name, kind, payload, options, message in (
        ("a/b", "work", "{}", "{}", "template name"),
        ("t", "a/b", "{}", "{}", "kind name"),
        ("t", "work", '"\\u0000"', "{}", "u0000"),
        ("t", "work", "{}", "[]", "JSON object"),
        ("t", "work", "{}", '{"id": "x"}', "belongs to one job"),
        ("t", "work", "{}", '{"priority": 1.5}', "integer"),
    ):
        with pytest.raises(InvalidInput, match=message):
            await app.store.fetch("select trunkline.save_template(1, $1, $2, $3, $4)", name, kind, payload, options)

    assert [] == await app.templates.list()


async def test_what_goes_over_a_template_is_checked_as_a_job_is(app, nightly):
    """The sum of both counts, too."""
    await app.templates.save("long", "work", {"a": "x" * 600_000})
    for name, payload, options, error in (
        (nightly, {"a": float("nan")}, {}, InvalidPayload),
        (nightly, {}, {"priority": 200}, InvalidInput),
        ("long", {"b": "x" * 600_000}, {}, InvalidPayload),
    ):
        with pytest.raises(error):
            await app.enqueue(None, payload, template=name, **options)
    for payload, options in (('{"b": "\\u0000"}', "{}"), ("{}", "[]"), ("{}", '{"priority": 200}')):
        with pytest.raises(InvalidInput):
            await app.store.fetch("select trunkline.enqueue_template('nightly', $1, $2)", payload, options)
    for arguments in ({}, {"kind": "work", "template": nightly}):
        with pytest.raises(InvalidInput, match="a kind or a template"):
            await app.enqueue(**arguments)


async def test_a_schedule_of_a_template_that_is_not_there_is_refused_when_it_is_saved(app):
    """By Python and by SQL, with the error that a missing thing has."""
    with pytest.raises(NotFound, match="template 'nobody'"):
        await app.schedules.create("s", template="nobody", every=60)
    with pytest.raises(NotFound, match="template 'nobody'"):
        await app.store.fetch("select trunkline.schedule_job('s', null, 'every 60', null, '{\"template\": \"nobody\"}')")
    with pytest.raises(NotFound, match="template 'nobody'"):
        await app.enqueue(template="nobody")

    assert [] == await app.schedules.list()


async def test_a_template_that_schedules_name_is_not_deleted(app, nightly):
    """The refusal says which; it can go when they are gone."""
    for name in ("a", "b"):
        await app.schedules.create(name, template=nightly, every=60)
    with pytest.raises(InvalidInput, match="template 'nightly' makes the jobs of the schedules 'a', 'b': delete or change them first"):
        await app.templates.delete(nightly)
    await app.schedules.delete("a")
    await app.schedules.update("b", kind="work")

    assert [True, False] == [await app.templates.delete(nightly) for _ in range(2)]


async def test_a_template_is_not_deleted_under_a_schedule_that_is_just_being_saved(app, nightly, sessions):
    """Whoever deletes it waits for the one who saves, and finds the schedule."""
    saving, deleting = await sessions.connect(), await sessions.connect()
    holding = saving.transaction()
    await holding.start()
    await saving.fetch("select trunkline.schedule_job('s', null, 'every 60', null, '{\"template\": \"nightly\"}')")
    deletion = sessions.start(deleting.fetch("select trunkline.delete_template($1, 'nightly')", await app.tenant_id(None)))
    await sessions.blocked(deleting)
    await holding.commit()

    with pytest.raises(asyncpg.PostgresError, match="makes the jobs of the schedule 's'"):
        await deletion


async def test_the_view_shows_templates_and_who_uses_them(app, nightly):
    """For people at psql."""
    await app.schedules.create("s", template=nightly, every=60)
    row = await app.store.fetchrow("select name, kind, options ->> 'queue' as queue, schedules from trunkline.templates")

    assert ("nightly", "build-report", "slow", 1) == tuple(row)
