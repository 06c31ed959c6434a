"""Schedules as SQL keeps them: saved by whom, fenced by the revision, fired once whoever fires."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from tests.sql.test_locks import hold
from trunkline.errors import InvalidInput, NotFound
from trunkline.store import schedules, sessions

FIRE = "select trunkline.fire($1, $2, $3, $4, $5)"


@pytest.fixture
async def say(queue):
    """`trunkline.schedule_job` as a person at psql says it."""

    async def say(
        rule: str | None, name: str = "s", kind: str | None = "work", payload: str | None = '{"n": 1}', tenant: str = "default", **options
    ):
        return await queue.store.fetchval(
            "select trunkline.schedule_job($1, $2, $3, $4, $5, $6)", name, kind, rule, payload, json.dumps(options), tenant
        )

    return say


async def only(store) -> schedules.Due:
    """The one schedule that needs somebody."""
    (one,) = await schedules.due(store, 10)
    return one


async def due_now(store, clock, say, seconds: float = 3600) -> schedules.Due:
    """A schedule that is planned and due."""
    await say(f"every {seconds:g}")
    one = await only(store)
    assert await schedules.plan(store, one, one.rule.after(one.plan_from))
    await clock.forward(seconds + 1)
    return await only(store)


async def test_what_sql_saves_waits_to_be_planned_and_is_not_due_before(say, store, clock):
    """SQL cannot compute cron: somebody who can is asked for."""
    said = [await say("0 3 * * *", tz="Europe/Berlin"), await say("0 3 * * *", tz="Europe/Berlin")]
    one = await only(store)
    planned = await schedules.plan(store, one, one.rule.after(one.plan_from))

    assert ["created", "unchanged"] == said
    assert (None, "0 3 * * *", "Europe/Berlin", "once", 100) == (one.next_run_at, one.cron, one.time_zone, one.missed, one.missed_limit)
    assert planned and [] == await schedules.due(store, 10)


async def test_an_interval_is_said_as_people_say_it(say, store):
    """Seconds, or PostgreSQL's own words."""
    found = {}
    for rule in ("every 15 minutes", "every 90", "EVERY 1 day", "  every 1.5 hours"):
        await say(rule)
        found[rule] = (await only(store)).every_s

    assert {"every 15 minutes": 900.0, "every 90": 90.0, "EVERY 1 day": 86400.0, "  every 1.5 hours": 5400.0} == found


async def test_a_moment_is_said_with_its_zone(say, store):
    """Without one it is UTC."""
    await say("at 2099-01-31T09:00:00+01:00")

    assert datetime(2099, 1, 31, 8, tzinfo=UTC) == (await only(store)).at


REFUSED = [
    ("0 3 * *", {}, "5 fields"),
    ("0 3 * * * * *", {}, "5 fields"),
    ("0 3 * * $", {}, "5 fields"),
    ("0 3 * * *; drop", {}, "5 fields"),
    (None, {}, "one rule"),
    ("every blue moon", {}, "every 15 minutes"),
    ("every 0.2", {}, "1 second"),
    ("every 11 years", {}, "10 years"),
    ("at some time", {}, "need a time"),
    ("at 2001-01-01T00:00:00Z", {}, "past"),
    ("0 3 * * *", {"tz": "Berlin"}, "IANA"),
    ("0 3 * * *", {"tz": "EST5EDT; x"}, "IANA"),
    ("0 3 * * *", {"missed": "never"}, "skip, once or all"),
    ("0 3 * * *", {"missed_limit": 0}, "1 to 1000"),
    ("0 3 * * *", {"missed_limit": "many"}, "1 to 1000"),
    ("0 3 * * *", {"overlap": "maybe"}, "allow or skip"),
    ("0 3 * * *", {"template": "t"}, "one of them"),
    ("0 3 * * *", {"run_at": "2099-01-01T00:00:00Z"}, "belongs to one job"),
    ("0 3 * * *", {"colour": "red"}, "colour"),
]


async def test_sql_refuses_what_it_can_see_and_writes_nothing(say, store):
    """The rest is found when it is planned."""
    for rule, options, message in REFUSED:
        with pytest.raises(InvalidInput, match=message):
            await say(rule, **options)

    assert 0 == await store.fetchval("select count(*) from trunkline.schedule")


async def test_a_payload_that_could_not_be_stored_is_refused(say):
    """As at enqueue."""
    with pytest.raises(InvalidInput, match="u0000"):
        await say("every 5", payload='"\\u0000"')


async def test_a_firing_makes_its_job_and_moves_the_schedule_on(queue, say, clock):
    """The job knows for when."""
    one = await due_now(queue.store, clock, say)
    made = await schedules.fire(queue.store, one, [one.next_run_at], one.rule.after(one.now))
    claimed = await queue.claim_one()
    options = json.loads(claimed.options)

    assert 1 == made
    assert ('{"n": 1}', "s") == (claimed.payload, options["schedule"])
    assert one.next_run_at == datetime.fromisoformat(options["scheduled_for"])
    assert [] == await schedules.due(queue.store, 10)


async def test_of_many_who_fire_the_same_time_one_does(queue, say, clock):
    """Forty rounds of ten at once; nobody waits for anybody."""
    one = await due_now(queue.store, clock, say, seconds=1)
    due_ats = []
    for _ in range(40):
        due_ats.append(one.next_run_at)
        made = await asyncio.gather(
            *(schedules.fire(queue.store, one, [one.next_run_at], one.rule.after(one.next_run_at)) for _ in range(10))
        )
        assert [1] == [count for count in made if count is not None]
        await clock.forward(1)
        one = await only(queue.store)

    rows = await queue.store.fetch("select due_at, job_id from trunkline.firing order by due_at")
    assert (due_ats, 40) == ([row[0] for row in rows], len({row[1] for row in rows}))
    assert 40 == await queue.count("ready")


async def test_a_due_time_that_has_a_firing_gets_no_second_one(queue, say, clock):
    """Also when the schedule was planned anew over times that are done: a clock was set back, a rule changed and changed back."""
    one = await due_now(queue.store, clock, say)
    await schedules.fire(queue.store, one, [one.next_run_at], one.next_run_at)
    again = await only(queue.store)
    made = await schedules.fire(queue.store, again, [one.next_run_at], one.rule.after(one.now))

    assert 0 == made
    assert 1 == await queue.count("ready")


async def test_one_that_is_just_being_fired_is_left_alone(queue, say, clock, sessions):
    """The second does not wait: others are due too."""
    one = await due_now(queue.store, clock, say)
    arguments = (one.tenant_id, one.schedule_id, one.revision, [one.next_run_at], one.rule.after(one.now))
    holding = await hold(await sessions.connect(), FIRE, *arguments)
    meanwhile = await schedules.fire(queue.store, one, [one.next_run_at], one.rule.after(one.now))
    await holding.rollback()

    assert (None, 0) == (meanwhile, await queue.count("ready"))
    assert 1 == await schedules.fire(queue.store, one, [one.next_run_at], one.rule.after(one.now))


@pytest.mark.parametrize("change", ["pause", "rule", "work", "delete"])
async def test_a_firing_that_was_computed_from_an_older_row_changes_nothing(queue, say, clock, change):
    """Paused, changed or deleted between the reading and the firing."""
    one = await due_now(queue.store, clock, say)
    if change == "pause":
        await schedules.pause(queue.store, one.tenant_id, "s", True)
    elif change == "delete":
        await schedules.delete(queue.store, one.tenant_id, "s")
    else:
        await say("every 7200" if change == "rule" else "every 3600", payload='{"n": 2}')
    made = await schedules.fire(queue.store, one, [one.next_run_at], one.rule.after(one.now))

    assert (None, 0, 0) == (made, await queue.count("ready"), await queue.count("firing"))


async def test_a_changed_payload_keeps_the_planned_time_and_a_changed_rule_does_not(say, store, clock):
    """The next job is the new one, when the old one would have been."""
    await say("every 3600")
    one = await only(store)
    next_run_at = one.rule.after(one.plan_from)
    await schedules.plan(store, one, next_run_at)
    await say("every 3600", payload='{"n": 2}')
    kept = await store.fetchval("select next_run_at from trunkline.schedule")
    said = await say("every 60")

    assert next_run_at == kept
    assert ("changed", 60.0, None) == (said, (await only(store)).every_s, (await only(store)).next_run_at)


async def test_a_job_whose_unique_key_is_held_is_noted_and_not_made(queue, say, clock):
    """overlap=skip: the firing names the live job."""
    await say("every 60", overlap="skip")
    one = await only(queue.store)
    await schedules.plan(queue.store, one, one.rule.after(one.plan_from))
    made = []
    for _ in range(2):
        await clock.forward(61)
        one = await only(queue.store)
        made.append(await schedules.fire(queue.store, one, [one.next_run_at], one.rule.after(one.now)))
    firings = await schedules.firings(queue.store, queue.tenant_id, "s", 10)

    assert [1, 0] == made
    assert [False, True] == [firing.is_new for firing in firings]
    assert 1 == len({firing.job_id for firing in firings})


async def test_several_missed_times_are_one_transaction(queue, say, clock):
    """All of them or none: here the third cannot be made."""
    await queue.store.fetch("select trunkline.save_template($1, 't', 'work', '{}')", queue.tenant_id)
    await say("every 60", kind=None, template="t")
    one = await only(queue.store)
    await schedules.plan(queue.store, one, one.rule.after(one.plan_from))
    await clock.forward(200)
    one = await only(queue.store)
    await queue.store.fetch("delete from trunkline.template where name = 't'")
    with pytest.raises(NotFound, match="template 't'"):
        await schedules.fire(queue.store, one, one.rule.latest(one.next_run_at, one.now, 3), one.rule.after(one.now))

    assert (0, 0) == (await queue.count("firing"), await queue.count("ready"))
    assert one.revision == (await only(queue.store)).revision


async def test_by_hand_it_makes_a_job_also_while_it_is_paused(queue, say):
    """And its own times stay as they are."""
    await say("every 3600")
    await schedules.pause(queue.store, queue.tenant_id, "s", True)
    job_id, created = await schedules.run(queue.store, queue.tenant_id, "s")
    (firing,) = await schedules.firings(queue.store, queue.tenant_id, "s", 10)

    assert created and (await queue.claim_one()).job_id == job_id == firing.job_id
    assert firing.by_hand
    with pytest.raises(NotFound):
        await schedules.run(queue.store, queue.tenant_id, "nobody")


async def test_pausing_twice_is_once_and_an_unknown_name_is_an_error(queue, say):
    """The answer says whether it was in the other state."""
    await say("every 60")
    answers = [await schedules.pause(queue.store, queue.tenant_id, "s", paused) for paused in (True, True, False, False)]

    assert [True, False, True, False] == answers
    with pytest.raises(NotFound):
        await schedules.pause(queue.store, queue.tenant_id, "nobody", True)


async def test_another_tenants_schedule_is_not_there(queue, say):
    """By no name and no verb."""
    await say("every 60")
    other = await sessions.tenant_id(queue.store, "other")

    assert not await schedules.delete(queue.store, other, "s")
    assert [] == await schedules.schedules(queue.store, other)
    for verb in (lambda: schedules.pause(queue.store, other, "s", True), lambda: schedules.run(queue.store, other, "s")):
        with pytest.raises(NotFound):
            await verb()


async def test_people_with_the_app_role_see_their_tenants_schedules_alone(queue, say):
    """Row-level security, also through the view."""
    await say("every 60")
    await say("every 60", name="theirs", tenant="other")
    seen = "set local role trunkline_app; set local trunkline.tenant_id = '{}'"
    async with queue.store.connection() as conn:
        found = {}
        for name in ("default", "other"):
            async with conn.transaction():
                await conn.execute(seen.format(await conn.fetchval("select trunkline.tenant_id($1)", name)))
                found[name] = [row[0] for row in await conn.fetch("select name from trunkline.schedules")]
                assert 0 == await conn.fetchval("select count(*) from trunkline.firing")

    assert {"default": ["s"], "other": ["theirs"]} == found


async def test_two_who_make_the_same_schedule_at_once_make_one(queue, say):
    """The second finds the first's."""
    said = await asyncio.gather(*(say("every 60") for _ in range(8)))

    assert ["created", *["unchanged"] * 7] == sorted(said)


async def test_firings_are_forgotten_with_history_and_moments_that_are_over_too(queue, say, clock):
    """What was fired lately stays, and so does what is still to come."""
    one = await due_now(queue.store, clock, say)
    await schedules.fire(queue.store, one, [one.next_run_at], one.rule.after(one.now))
    moment = one.now + timedelta(seconds=60)
    await say(f"at {moment.isoformat()}", name="moment")
    (unplanned,) = [due for due in await schedules.due(queue.store, 10) if due.name == "moment"]
    await schedules.plan(queue.store, unplanned, moment)
    await clock.forward(61)
    (ready,) = [due for due in await schedules.due(queue.store, 10) if due.name == "moment"]
    await schedules.fire(queue.store, ready, [moment], None)
    drop = "select trunkline.drop_firings(86400)"
    early = await queue.store.fetchval(drop)
    over = await schedules.get(queue.store, queue.tenant_id, "moment")
    await clock.forward(86400 + 10)
    late = await queue.store.fetchval(drop)

    assert (0, "over", 2) == (early, over.state, late)
    assert ["s"] == [one.name for one in await schedules.schedules(queue.store, queue.tenant_id)]


async def test_an_idle_tick_asks_one_page_for_schedules(store):
    """Nobody who uses none pays for them."""
    await store.fetch("select trunkline.schedules_due_in()")
    async with store.connection() as conn:
        plan = json.loads(
            await conn.fetchval(
                "explain (analyze, buffers, format json, costs off, timing off)"
                " select min(s.next_run_at) from trunkline.schedule as s where s.next_run_at is not null"
            )
        )

    assert plan[0]["Plan"]["Shared Hit Blocks"] + plan[0]["Plan"]["Shared Read Blocks"] <= 2


async def test_seconds_until_due_are_told_with_the_tick(queue, say, clock):
    """Null without any; zero when one is to be planned or due."""
    told = [(await queue.tick()).schedules_in_s]
    await say("every 100")
    told.append((await queue.tick()).schedules_in_s)
    one = await only(queue.store)
    await schedules.plan(queue.store, one, one.rule.after(one.plan_from))
    told.append(round((await queue.tick()).schedules_in_s, -1))
    await clock.forward(101)
    told.append((await queue.tick()).schedules_in_s)
    await schedules.pause(queue.store, queue.tenant_id, "s", True)
    told.append((await queue.tick()).schedules_in_s)

    assert [None, 0, 100, 0, None] == told


async def test_unschedule_takes_it_away_with_its_memory(queue, say, clock):
    """The job stays."""
    one = await due_now(queue.store, clock, say)
    await schedules.fire(queue.store, one, [one.next_run_at], one.rule.after(one.now))
    answers = [await queue.store.fetchval("select trunkline.unschedule('s')") for _ in range(2)]

    assert [True, False] == answers
    assert (0, 1) == (await queue.count("firing"), await queue.count("ready"))


async def test_a_firing_does_not_wait_longer_than_a_second_for_somebodys_key(queue, say, clock, sessions):
    """An open transaction holds the unique key: others are due too, this one is tried again with the next tick."""
    await say("every 60", unique_key="k")
    one = await only(queue.store)
    await schedules.plan(queue.store, one, one.rule.after(one.plan_from))
    await clock.forward(61)
    one = await only(queue.store)
    other = await sessions.connect()
    holding = await hold(other, "select trunkline.enqueue('work', '{}', '{\"unique_key\": \"k\"}')")
    waiting = await sessions.connect()
    with pytest.raises(asyncpg.LockNotAvailableError):
        await waiting.fetch(FIRE, one.tenant_id, one.schedule_id, one.revision, [one.next_run_at], one.rule.after(one.now))
    await holding.rollback()

    assert 1 == await schedules.fire(queue.store, one, [one.next_run_at], one.rule.after(one.now))
