"""Schedules made over a socket."""

from __future__ import annotations

from trunkline.gateway.commands import schedules as commands


async def test_a_schedule_makes_jobs_of_its_name(app, join, worker):
    """With its payload and its options, at its times."""

    @app.job("unrelated")
    async def unrelated():
        pass

    remote, sender = await worker(), await join()
    answer = await sender.ok("schedule_job", name="resize", cronPattern="* * * * * *", data={"n": 1}, options={"priority": 7})
    await app.start_worker()  # a process that fires schedules
    request = (await remote.pushed("work_request"))[0]

    assert "resize" == answer["scheduleId"]
    assert ({"n": 1}, 7) == (request["data"], request["priority"])
    await sender.ok("unschedule_job", name="resize")


async def test_the_same_name_replaces(join):
    """With either dash; the list shows what is there now."""
    client = await join()
    first = await client.ok("schedule_job", name="ai_generation", cronPattern="0 3 * * *", data={"n": 1})
    again = await client.ok(
        "schedule_job", name="ai-generation", cronPattern="30 4 * * MON", data={"n": 2}, options={"tz": "Europe/Berlin"}
    )
    (listed,) = (await client.ok("list_schedules"))["schedules"]

    assert first["scheduleId"] == again["scheduleId"] == listed["scheduleId"]
    assert ("ai-generation", "30 4 * * MON", "Europe/Berlin", {"n": 2}) == tuple(
        listed[key] for key in ("jobName", "cronPattern", "tz", "data")
    )
    assert listed["state"] in ("active", "unplanned")


async def test_what_can_never_come_true_is_refused_when_it_is_saved(join):
    """And what belongs to one job only."""
    client = await join()
    for fields, words in (
        ({"cronPattern": "61 * * * *"}, "cron expression"),
        ({"cronPattern": "0 0 30 2 *"}, "cron expression"),
        ({"cronPattern": "often"}, "cron expression"),
        ({"cronPattern": "0 3 * * *", "options": {"tz": "Mars/Base"}}, "time zone"),
        ({"cronPattern": "0 3 * * *", "options": {"idempotencyKey": "k"}}, "idempotency_key"),
        ({"cronPattern": "0 3 * * *", "options": {"priority": 101}}, "options.priority"),
        ({}, "cronPattern"),
    ):
        answer = await client.ask("schedule_job", name="resize", **fields)

        assert "invalid_input" == answer.get("code") and words in answer["error"], (fields, answer)
    assert [] == (await client.ok("list_schedules"))["schedules"]


async def test_unscheduling_is_the_same_twice(join):
    """Also of what was never there."""
    client = await join()
    await client.ok("schedule_job", name="ai_generation", cronPattern="0 3 * * *")
    for _ in range(2):
        assert {"status": "ok"} == await client.ok("unschedule_job", name="ai_generation")

    assert [] == (await client.ok("list_schedules"))["schedules"]


async def test_schedules_made_elsewhere_are_listed_and_can_be_taken_away(app, join):
    """By interval or from a template, under names that the gateway would not give."""
    client = await join()
    await app.schedules.create("every_hour", "resize", every=3600, tenant="customer-001")
    (listed,) = (await client.ok("list_schedules"))["schedules"]
    await client.ok("unschedule_job", name="every_hour")

    assert ("every_hour", "resize", None) == (listed["name"], listed["jobName"], listed["cronPattern"])
    assert [] == (await client.ok("list_schedules"))["schedules"]


async def test_schedules_of_others_are_not_seen_nor_touched(app, join):
    """The same name is another schedule in another tenant, also in one that has nothing yet."""
    mine, theirs = await join(), await join("customer-002")
    await mine.ok("schedule_job", name="resize", cronPattern="0 3 * * *")
    assert [] == (await theirs.ok("list_schedules"))["schedules"]
    await theirs.ok("schedule_job", name="resize", cronPattern="0 4 * * *")
    await theirs.ok("unschedule_job", name="resize")

    assert ["0 3 * * *"] == [each["cronPattern"] for each in (await mine.ok("list_schedules"))["schedules"]]


async def test_scheduling_needs_the_scope_send_and_the_right_to_the_kind(join):
    """As sending does."""
    works, sends = await join("customer-001", "work"), await join("customer-001", "send")
    for call, fields in (
        ("schedule_job", {"name": "a", "cronPattern": "0 3 * * *"}),
        ("unschedule_job", {"name": "a"}),
        ("list_schedules", {}),
    ):
        assert "forbidden" == (await works.ask(call, **fields))["code"]
    assert "forbidden" == (await sends.ask("schedule_job", name="schema_rebuild", cronPattern="0 3 * * *"))["code"]


async def test_a_customer_has_a_bounded_number_of_schedules(join, monkeypatch):
    """One that is there may still be replaced."""
    monkeypatch.setattr(commands, "MOST", 2)
    client = await join()
    answers = [await client.ask("schedule_job", name=name, cronPattern="0 3 * * *") for name in ("a", "b", "c", "b")]

    assert [None, None, "quota_exceeded", None] == [answer.get("code") for answer in answers]
