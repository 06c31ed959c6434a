"""Schedules as applications use them: declared, created, changed, and fired by whichever worker process comes first."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.until import until
from trunkline import Trunkline
from trunkline.engine import Heart
from trunkline.engine.scheduler import Scheduler
from trunkline.errors import InvalidInput, NotFound
from trunkline.settings import Settings
from trunkline.store import Store, schedules

HOUR = 3600


async def times_of(app: Trunkline, name: str = "s") -> list[datetime]:
    """For which times it fired, oldest first."""
    return [firing.due_at for firing in await app.schedules.firings(name, 1000)][::-1]


async def test_a_schedule_fires_and_its_job_knows_for_when(app):
    """The whole way, with a worker."""
    ran = asyncio.Queue()

    @app.schedule(every=1, name="pulse", payload={"n": 1})
    @app.job("work")
    async def work(job, n: int) -> None:
        await ran.put((job.scheduled_for, n))

    await app.start_worker()
    async with asyncio.timeout(30):
        got = [await ran.get() for _ in range(2)]

    assert (1, timedelta(seconds=1)) == (got[0][1], got[1][0] - got[0][0])
    assert [at for at, _ in got] == (await times_of(app, "pulse"))[:2]


async def test_one_made_at_psql_fires_too(app):
    """Nobody but the next tick is told of it."""
    ran = asyncio.Event()

    @app.job("work")
    async def work() -> None:
        ran.set()

    await app.start_worker()
    await app.store.fetch("select trunkline.schedule_job('psql', 'work', '* * * * * *')")

    await asyncio.wait_for(ran.wait(), 30)


async def test_a_job_that_no_schedule_made_is_for_no_time(app):
    """And one that was enqueued as if, is: to make up for a day by hand."""
    seen = asyncio.Queue()

    @app.job("work")
    async def work(job) -> None:
        await seen.put(job.scheduled_for)

    await app.start_worker()
    day = datetime(2027, 1, 31, tzinfo=UTC)
    for options in ({}, {"scheduled_for": day}):
        await app.wait(await app.enqueue("work", **options), 30)

    assert [None, day] == [seen.get_nowait(), seen.get_nowait()]


async def test_two_processes_that_wake_together_make_one_job(app, trunkline_url, clock):
    """Thirty times, with two schedules, each process on connections of its own."""
    other = await Store.connect(Settings.load({}, database_url=trunkline_url))
    both = [Scheduler(store, Heart(store)) for store in (app.store, other)]
    for name in ("a", "b"):
        await app.schedules.create(name, "work", every=60)
    await both[0].round()
    for _ in range(30):
        await clock.forward(60)
        await asyncio.gather(*(duty.round() for duty in both))
    await other.close()

    jobs = await app.store.fetchval("select count(*) from trunkline.ready")
    assert (60, 30, 30) == (jobs, len(await times_of(app, "a")), len(await times_of(app, "b")))


@pytest.mark.parametrize(
    ("missed", "expected"),
    [("skip", []), ("once", [-1]), ("all", [-3, -2, -1])],
)
async def test_times_that_nobody_attended_to_follow_the_policy(app, duty, clock, missed, expected):
    """Every hour, down for five and a half: the next hour is fired in any case."""
    await app.schedules.create("s", "work", every=HOUR, missed=missed, missed_limit=3)
    await duty.round()
    first = (await app.schedules.get("s")).next_run_at
    await clock.forward(5.5 * HOUR)
    await duty.round()
    late = await times_of(app)
    after = await app.schedules.get("s")
    await clock.forward(0.5 * HOUR + 1)
    await duty.round()

    due = [first + timedelta(hours=n) for n in range(5)]
    assert [due[n] for n in expected] == late
    assert first + timedelta(hours=5) == after.next_run_at
    assert first + timedelta(hours=5) == (await times_of(app))[-1]


async def test_a_restart_of_some_seconds_misses_nothing(app, duty, clock):
    """skip is about times when nobody was there, not about a deploy."""
    await app.schedules.create("s", "work", every=HOUR, missed="skip")
    await duty.round()
    await clock.forward(HOUR + 30)
    await duty.round()

    assert 1 == len(await times_of(app))


async def test_while_it_is_paused_nothing_is_due_and_nothing_was_missed(app, duty, clock):
    """It goes on with the first time after its resumption."""
    await app.schedules.create("s", "work", every=HOUR, missed="all")
    await duty.round()
    paused = [await app.schedules.pause("s") for _ in range(2)]
    await clock.forward(5.5 * HOUR)
    moved = await duty.round()
    resumed = await app.schedules.resume("s")
    await duty.round()
    while_paused = await times_of(app)
    await clock.forward(HOUR)
    await duty.round()

    assert ([True, False], 0, True, []) == (paused, moved, resumed, while_paused)
    assert 1 == len(await times_of(app))


async def test_a_rule_that_changes_while_it_is_being_fired_wins(app, duty, clock, monkeypatch):
    """What was computed by the old rule is thrown away."""
    await app.schedules.create("s", "work", every=HOUR)
    await duty.round()
    await clock.forward(HOUR + 1)
    fire = schedules.fire

    async def changed_before(*arguments):
        monkeypatch.setattr(schedules, "fire", fire)
        await app.schedules.update("s", every=2 * HOUR)
        return await fire(*arguments)

    monkeypatch.setattr(schedules, "fire", changed_before)
    await duty.round()
    await duty.round()
    found = await app.schedules.get("s")

    assert [] == await times_of(app)
    assert ("active", 2 * HOUR) == (found.state, found.rule.every_s)
    assert found.next_run_at == found.rule.starts_at + timedelta(hours=2)


async def test_a_moment_is_fired_once_and_is_over(app, duty, clock):
    """Also when nobody was there: once is the default for what was missed."""
    at = await schedules.now(app.store) + timedelta(hours=1)
    await app.schedules.create("s", "work", at=at)
    await duty.round()
    await clock.forward(3 * HOUR)
    for _ in range(2):
        await duty.round()

    assert [at] == await times_of(app)
    assert ("over", []) == ((await app.schedules.get("s")).state, await app.schedules.next("s"))


async def test_what_sql_let_through_and_never_comes_true_is_shown_as_broken(app, duty):
    """And does not keep anybody busy; a rule that can be mends it."""
    for name, cron in (("never", "0 0 31 2 *"), ("unreadable", "0 0 * * MON#9"), ("rare", "* * */20 * 1L")):
        await app.store.fetch("select trunkline.schedule_job($1, 'work', $2)", name, cron)
    await duty.round()
    found = {one.name: (one.state, one.error.split("'")[2][:22]) for one in await app.schedules.list()}
    again = await duty.round()
    mended = await app.schedules.update("never", cron="0 0 28 2 *")
    await duty.round()

    assert {
        "never": ("broken", ": Bad day-of-month. Ne"),
        "unreadable": ("broken", ": Bad day-of-week. Nee"),
        "rare": ("broken", " never comes true: no "),
    } == found
    assert (0, None) == (again, mended.error)
    assert "active" == (await app.schedules.get("never")).state


async def test_a_firing_that_is_refused_is_shown_and_does_not_hold_up_the_others(app, duty, clock):
    """Its template is gone; it goes on with its next time, and the error goes with the next success."""
    await app.templates.save("t", "work", {"a": 1})
    await app.schedules.create("s", template="t", every=HOUR)
    await app.schedules.create("fine", "work", every=HOUR)
    await duty.round()
    await app.store.fetch("delete from trunkline.template where name = 't'")  # as code before this did
    await clock.forward(HOUR + 1)
    moved = await duty.round()
    broken = await app.schedules.get("s")
    await app.templates.save("t", "work", {"a": 2})
    await clock.forward(HOUR)
    await duty.round()
    mended = await app.schedules.get("s")

    assert (2, "active", True) == (moved, broken.state, "template 't'" in broken.error)
    assert (None, 1, 2) == (mended.error, len(await times_of(app)), len(await times_of(app, "fine")))


async def test_a_schedule_of_a_template_makes_what_the_template_is_then(app, duty, clock):
    """Its own payload and options go over the template's."""
    await app.templates.save("t", "work", {"a": 1, "b": 1}, priority=3, retry_limit=9)
    await app.schedules.create("s", template="t", payload={"b": 2}, every=HOUR, priority=5, retry_limit=None)
    await duty.round()
    await app.templates.save("t", "work", {"a": 7, "b": 1}, priority=3, retry_limit=9)
    await clock.forward(HOUR + 1)
    await duty.round()
    (firing,) = await app.schedules.firings("s")
    job = await app.get(firing.job_id)

    assert ({"a": 7, "b": 2}, 5, "work") == (job.payload, job.priority, job.kind)
    assert {"schedule", "scheduled_for"} == set(job.options)


async def test_what_code_declares_is_written_at_the_start_of_a_worker_and_kept_as_it_is(trunkline_url):
    """A second start changes nothing, so the planned time stays; a pause of an operator stays too."""
    seen = []
    for _ in range(2):
        async with Trunkline(settings=Settings.load({}, database_url=trunkline_url)) as app:

            @app.job("report", queue="slow")
            @app.schedule("0 3 * * *", tz="Europe/Berlin", payload={"n": 1}, missed="skip", priority=5)
            async def report(n: int) -> None: ...

            await app.start_worker()
            await until(lambda app=app: _is_planned(app, "report"), "it is planned")
            await app.schedules.pause("report")
            await app.schedules.keep_declared()
            seen.append(await app.schedules.get("report"))
            await app.schedules.resume("report")

    first, second = seen
    assert (True, "skip", {"priority": 5}, {"n": 1}, "paused") == (
        first.declared_by_code,
        first.missed,
        first.options,
        first.payload,
        first.state,
    )
    assert (first.created_at, first.updated_at) == (second.created_at, second.updated_at)


async def _is_planned(app: Trunkline, name: str) -> bool:
    return (await app.schedules.get(name)).state == "active"


async def test_code_that_dropped_a_schedule_takes_it_away_if_it_is_told_to(app):
    """Never one that was made at run time."""
    app.schedule("0 1 * * *", kind="work", name="stays")(object)
    await app.schedules.create("by-hand", "work", every=HOUR)
    gone = Trunkline(settings=app.settings)
    gone.schedule(every=HOUR, kind="work", name="dropped")(object)
    await gone.schedules.keep_declared()
    await app.schedules.keep_declared()
    kept = [one.name for one in await app.schedules.list()]
    await app.schedules.keep_declared(prune=True)
    await gone.close()

    assert ["by-hand", "dropped", "stays"] == kept
    assert ["by-hand", "stays"] == [one.name for one in await app.schedules.list()]


async def test_a_declaration_without_a_handler_or_with_a_name_twice_is_refused_at_the_start(app):
    """It names the function, or the name."""

    @app.schedule("0 1 * * *")
    async def lonely() -> None: ...

    with pytest.raises(InvalidInput, match=r"lonely: declare it with @app\.job too"):
        await app.schedules.keep_declared()
    app.job("lonely")(lonely)
    app.schedule("0 2 * * *", kind="lonely")(object)
    with pytest.raises(InvalidInput, match="two schedules are named 'lonely'"):
        await app.schedules.keep_declared()
    for cron, what, message in (
        ("0 25 * * *", {}, "Bad hour"),
        ("0 1 * * *", {"colour": 1}, "colour"),
        ("0 1 * * *", {"missed": "no"}, "missed is 'no'"),
    ):
        with pytest.raises(InvalidInput, match=message):
            app.schedule(cron, **what)


async def test_a_change_keeps_what_is_not_given(app):
    """And a new sort of rule drives out the old one."""
    await app.schedules.create("s", "work", {"n": 1}, cron="0 3 * * *", tz="Europe/Berlin", missed="skip", priority=5, overlap="skip")
    zone = await app.schedules.update("s", tz="Asia/Tokyo")
    every = await app.schedules.update("s", every=60, priority=None, retry_limit=1, overlap="allow")
    payload = await app.schedules.update("s", payload={"n": 2}, missed="all", missed_limit=7)
    await app.templates.save("t", "work", {"n": 3})
    template = await app.schedules.update("s", template="t")

    assert ("0 3 * * *", "Asia/Tokyo", "skip", {"n": 1}) == (zone.rule.cron, zone.rule.time_zone, zone.missed, zone.payload)
    assert {"priority": 5, "unique_key": "schedule:s"} == zone.options
    assert (None, 60.0, {"retry_limit": 1}) == (every.rule.cron, every.rule.every_s, every.options)
    assert ({"n": 2}, "all", 7, every.rule) == (payload.payload, payload.missed, payload.missed_limit, payload.rule)
    assert (None, "t") == (template.kind, template.template)


async def test_changes_at_the_same_moment_are_all_kept(app):
    """Each reads, changes and writes; whoever read an older one begins again."""
    await app.schedules.create("s", "work", every=60)
    await asyncio.gather(
        *(app.schedules.update("s", **change) for change in ({"priority": 5}, {"missed": "skip"}, {"every": 70}, {"timeout": 9}))
    )
    found = await app.schedules.get("s")

    assert ({"priority": 5, "timeout": 9}, "skip", 70.0) == (found.options, found.missed, found.rule.every_s)


async def test_what_cannot_be_a_schedule_is_refused_with_a_sentence(app):
    """Nothing is saved."""
    soon = datetime.now(UTC) + timedelta(hours=1)
    for arguments, message in (
        ({"kind": "work", "cron": "0 0 31 2 *"}, "Bad day-of-month"),
        ({"kind": "work"}, "one rule"),
        ({"every": 60}, "a kind or a template"),
        ({"kind": "work", "template": "t", "every": 60}, "a kind or a template"),
        ({"kind": "work", "every": 60, "missed": "sometimes"}, "'skip', 'once' or 'all'"),
        ({"kind": "work", "every": 60, "missed_limit": 0}, "missed_limit is 0"),
        ({"kind": "work", "every": 60, "overlap": "yes"}, "'allow' or 'skip'"),
        ({"kind": "work", "every": 60, "run_at": soon}, "belongs to one job"),
        ({"kind": "work", "every": 60, "idempotency_key": "k"}, "belongs to one job"),
        ({"kind": "work", "every": 60, "colour": "red"}, "option colour"),
        ({"kind": "work", "every": 60, "payload": float("nan")}, "nan"),
        ({"kind": "work", "at": soon - timedelta(days=1)}, "past"),
        ({"kind": "a/b", "every": 60}, "kind name"),
    ):
        with pytest.raises(InvalidInput, match=message):
            await app.schedules.create("s", **arguments)
    with pytest.raises(InvalidInput, match="schedule name"):
        await app.schedules.create("a/b", "work", every=60)
    with pytest.raises(NotFound):
        await app.schedules.update("s", every=5)

    assert [] == await app.schedules.list()


async def test_the_next_times_are_known_before_any_worker_runs(app, clock):
    """In order, by the database's clock, also while it is paused."""
    await app.schedules.create("s", "work", every=HOUR)
    await app.schedules.pause("s")
    one = await app.schedules.get("s")
    await clock.forward(10.5 * HOUR)

    assert [one.rule.starts_at + timedelta(hours=n) for n in (11, 12, 13)] == await app.schedules.next("s", 3)


async def test_run_now_makes_an_ordinary_job(app):
    """And knows the moment."""
    await app.schedules.create("s", "work", {"n": 1}, every=HOUR)
    job = await app.get(await app.schedules.run_now("s"))
    (firing,) = await app.schedules.firings("s")

    assert ({"n": 1}, "queued", job.id, True) == (job.payload, job.state, firing.job_id, firing.by_hand)
