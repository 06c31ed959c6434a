"""`trunkline schedules`, `trunkline templates` and `trunkline enqueue --template`."""

from __future__ import annotations

from pathlib import Path

import trunkline
from tests.cli.conftest import Cli, Offline, Start
from tests.support.queue import Queue
from tests.support.until import until
from trunkline.engine import Heart
from trunkline.engine.scheduler import Scheduler

SOURCE = Path(trunkline.__file__).parents[1]


async def test_a_schedule_is_made_shown_and_listed(cli: Cli, queue: Queue):
    """With its next five times in its own zone and in UTC."""
    made = await cli(
        "schedules", "create", "nightly", "work", '{"n": 1}', "--cron", "30 2 * * *", "--tz", "Europe/Berlin", "--option", "priority=5"
    )
    shown, listed = await cli("schedules", "show", "nightly"), await cli("schedules")
    document = (await cli("schedules", "show", "nightly", "--json")).json

    assert 0 == made.code and made.out == shown.out
    assert 5 == shown.out.count("02:30:00 +0") == shown.out.count("Europe/Berlin") - 1
    assert "nightly" in listed.out and "30 2 * * * Europe/Berlin" in listed.out
    assert ("work", {"n": 1}, {"priority": 5}, "unplanned", 5) == (
        document["kind"], document["payload"], document["options"], document["state"], len(document["next"]),
    )  # fmt: skip


async def test_intervals_and_moments_are_rules_too(cli: Cli, queue: Queue):
    """Durations and times as everywhere."""
    made = [
        (await cli("schedules", "create", name, "work", *rule, "--json")).json
        for name, rule in (
            ("a", ("--every", "90s")),
            ("b", ("--at", "2099-01-31T09:00:00+01:00")),
            ("c", ("--every", "1d", "--start", "2099-01-01T00:00:00Z")),
        )
    ]

    assert (90.0, "2099-01-31T08:00:00Z", "2099-01-01T00:00:00Z") == (made[0]["everyS"], made[1]["at"], made[2]["startsAt"])
    assert "2099-01-02T00:00:00Z" == made[2]["next"][1]
    assert "every 1 min 30 s" in (await cli("schedules", "list")).out


async def test_a_schedule_is_paused_resumed_run_and_deleted(cli: Cli, queue: Queue):
    """Each once; what is not there is said."""
    await cli("schedules", "create", "s", "work", "--every", "1h")
    said = [(await cli("schedules", verb, "s")).out for verb in ("pause", "pause", "resume")]
    job_id = (await cli("schedules", "run", "s")).out.strip()
    shown = (await cli("schedules", "show", "s")).out
    gone = [await cli("schedules", "delete", "s") for _ in range(2)]

    assert ["Schedule 's' is paused.\n", "Schedule 's' was paused already.\n", "Schedule 's' is active.\n"] == said
    assert job_id == str((await queue.claim_one()).job_id) and f"by hand  {job_id}" in shown
    assert ("Schedule 's' is gone.\n", 1) == (gone[0].out, gone[1].code)
    for verb in ("pause", "run", "show"):
        answer = await cli("schedules", verb, "s")
        assert 1 == answer.code and "none of that name" in answer.err


async def test_what_cannot_be_scheduled_is_refused_with_a_sentence(cli: Cli, queue: Queue):
    """Exit code 1, or 2 for wrong usage."""
    never = await cli("schedules", "create", "s", "work", "--cron", "0 0 31 2 *")
    nothing = await cli("schedules", "create", "s", "work")
    both = await cli("schedules", "create", "s", "work", "{}", "--template", "t", "--every", "5")
    neither = await cli("schedules", "create", "s", "--every", "5")

    assert (1, 1, 2, 2) == (never.code, nothing.code, both.code, neither.code)
    assert "Bad day-of-month" in never.err and "one rule" in nothing.err
    assert [] == (await cli("schedules", "list", "--json")).json["schedules"]


async def test_templates_are_saved_used_and_deleted(cli: Cli, queue: Queue):
    """enqueue --template puts its own payload and options over it."""
    await cli("templates", "save", "t", "work", '{"a": 1, "b": 1}', "--option", "priority=5", "--option", "retry_limit=2")
    listed, shown = (await cli("templates")).out, (await cli("templates", "show", "t", "--json")).json
    plain = (await cli("enqueue", "--template", "t")).out.strip()
    over = (await cli("enqueue", "--template", "t", '{"b": 2}', "--priority", "9", "--json")).json["id"]
    jobs = [await queue.view(job_id) for job_id in (plain, over)]
    gone = [(await cli("templates", "delete", "t")).code for _ in range(2)]
    lost = await cli("enqueue", "--template", "t")

    assert "work" in listed and {"priority": 5, "retry_limit": 2} == shown["options"]
    assert [({"a": 1, "b": 1}, 5), ({"a": 1, "b": 2}, 9)] == [(job.payload, job.priority) for job in jobs]
    assert [0, 1] == gone and 1 == lost.code and "template 't'" in lost.err


async def test_a_schedule_may_name_a_template(cli: Cli, queue: Queue):
    """Then its one argument is the payload."""
    await cli("templates", "save", "t", "work", '{"a": 1}')
    await cli("schedules", "create", "s", '{"b": 2}', "--template", "t", "--every", "1h")
    await cli("schedules", "run", "s")

    assert '{"a": 1, "b": 2}' == (await queue.claim_one()).payload.replace(" :", ":").replace("{ ", "{").replace(" }", "}")


async def test_a_broken_one_can_be_looked_at(cli: Cli, queue: Queue):
    """It is then that people look."""
    await queue.store.fetch("select trunkline.schedule_job('s', 'work', '0 0 31 2 *')")
    duty = Scheduler(queue.store, Heart(queue.store))
    await duty.round()
    shown, listed = await cli("schedules", "show", "s"), await cli("schedules")

    assert (0, 0) == (shown.code, listed.code)
    assert "Bad day-of-month" in shown.out and "broken" in listed.out


def test_enqueue_needs_a_kind_or_a_template(offline: Offline):
    """Wrong usage, without a database."""
    neither, both = offline("enqueue"), offline("enqueue", "work", "{}", "--template", "t")

    assert (2, 2) == (neither.code, both.code)
    assert "need a kind, or --template" in neither.sentence and "give the payload alone" in both.sentence


async def test_doctor_names_schedules_in_trouble(cli: Cli, queue: Queue):
    """What nobody fires, and what fails."""
    fine = {found["check"]: found for found in (await cli("doctor", "--json")).json["findings"]}
    await cli("schedules", "create", "s", "work", "--every", "1h")
    await queue.store.fetch("update trunkline.schedule set next_run_at = clock_timestamp() - interval '1 hour'")
    late = [found for found in (await cli("doctor", "--json")).json["findings"] if found["check"] == "schedule"]
    await queue.store.fetch("update trunkline.schedule set next_run_at = null, error = 'it is broken'")
    broken = [found for found in (await cli("doctor", "--json")).json["findings"] if found["check"] == "schedule"]

    assert "ok" == fine["schedules"]["status"]
    assert ["warn"] == [found["status"] for found in late] and "not fired" in late[0]["value"]
    assert "it is broken" in broken[0]["value"]


async def test_a_worker_prunes_what_its_application_dropped(cli: Cli, queue: Queue, start: Start):
    """Only if it is told to."""
    await queue.store.fetch("select trunkline.schedule_job('dropped', 'work', 'every 3600')")
    await queue.store.fetch("update trunkline.schedule set declared_by_code = true")
    start("worker", "tasks:app", "--json").until('"ready"')
    kept = len((await cli("schedules", "list", "--json")).json["schedules"])
    start("worker", "tasks:app", "--prune-schedules", "--json", PYTHONPATH=str(SOURCE)).until('"ready"')

    assert 1 == kept
    await until(lambda: queue.store.fetchval("select not exists (select from trunkline.schedule)"), "it is gone")
