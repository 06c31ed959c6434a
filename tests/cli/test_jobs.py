"""`trunkline jobs`: list, show, cancel, retry, reschedule, reprioritize."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest

from tests.cli.conftest import Cli, ended
from tests.support.queue import Queue
from trunkline.model import Policy
from trunkline.store import read, work

UNKNOWN = "0197aaaa-0000-7000-8000-000000000000"


async def _one_of_each(queue: Queue) -> dict[str, UUID]:
    """A job in each state that a test can reach without a clock."""
    states = {ending: await ended(queue, ending) for ending in ("completed", "failed", "cancelled")}
    states["active"] = await queue.put()
    await queue.claim_one()
    states["scheduled"] = await queue.put(delay=3600)
    states["queued"] = await queue.put({"n": 1})
    return states


async def test_a_list_has_the_newest_first_and_filters(cli: Cli, queue: Queue):
    """State, kind, queue and length."""
    states = await _one_of_each(queue)
    everything = (await cli("jobs", "list", "--json")).json["jobs"]

    assert [str(job_id) for job_id in sorted(states.values(), reverse=True)] == [job["id"] for job in everything]
    for state, job_id in states.items():
        found = (await cli("jobs", "list", "--state", state, "--json")).json["jobs"]
        assert [(str(job_id), state)] == [(job["id"], job["state"]) for job in found]
    assert 2 == len((await cli("jobs", "list", "--limit", "2", "--json")).json["jobs"])
    assert [] == (await cli("jobs", "list", "--kind", "other", "--json")).json["jobs"]
    assert [] == (await cli("jobs", "list", "--queue", "other", "--json")).json["jobs"]


async def test_a_list_for_people_has_a_line_for_each_job(cli: Cli, queue: Queue):
    """Never wrapped and never cut where there is no terminal."""
    states = await _one_of_each(queue)
    answer = await cli("jobs", "list")

    head, *rows = answer.out.splitlines()
    assert ["id", "kind", "state", "created", "what"] == head.split()
    assert {str(job_id): state for state, job_id in states.items()} == {row.split()[0]: row.split()[2] for row in rows}


async def test_an_empty_list_says_so_beside_the_answer(cli: Cli):
    """Nothing on standard output is the true list."""
    answer = await cli("jobs", "list")

    assert (0, "", "No such job.\n") == (answer.code, answer.out, answer.err)


@pytest.mark.parametrize("what", ["kind", "queue"])
async def test_a_filter_that_can_name_nothing_is_refused(cli: Cli, what: str):
    """It is a slip, not an empty list."""
    answer = await cli("jobs", "list", f"--{what}", "a/b")

    assert 1 == answer.code and f"{what} name 'a/b': need 1 to 200 characters" in answer.err


async def test_every_state_that_can_be_read_can_be_asked_for(cli: Cli):
    """The choices of --state are the store's."""
    for state in read.STATES:
        assert 0 == (await cli("jobs", "list", "--state", state)).code
    assert 2 == (await cli("jobs", "list", "--state", "nowhere")).code


async def test_a_tenant_that_is_not_there_is_not_made_by_asking(cli: Cli, queue: Queue):
    """A slip of the finger must not leave a tenant behind."""
    answers = [await cli(*command, "--tenant", "nobody") for command in (["jobs", "list"], ["queues"], ["jobs", "cancel", UNKNOWN])]

    assert [(1, "error: there is no tenant 'nobody'. There are: default.\n")] * 3 == [(answer.code, answer.err) for answer in answers]
    assert ["0", "default"] == [row[0] for row in await queue.store.fetch("select name from trunkline.tenant order by tenant_id")]


async def test_show_has_everything_about_a_job(cli: Cli, queue: Queue):
    """Attempts, log, progress, error; the same as JSON."""
    await work.declare_kind(queue.store, queue.tenant_id, "work", Policy(retry_limit=1, retry_delay_s=0))
    job_id = await queue.put({"n": 1}, priority=3)
    for ending in ("failed", "fatal"):
        await queue.tick()
        claimed = await queue.claim_one()
        await work.save_progress(queue.store, queue.tenant_id, [job_id], [claimed.attempt], ['{"percentage": 40, "message": "half"}'])
        await work.add_log(queue.store, queue.tenant_id, [job_id], [claimed.attempt], ["warning"], ["hot \x1b[2J"], ['{"degrees": 90}'])
        await queue.settle(claimed, ending, error='{"type": "ValueError", "message": "no", "traceback": "Traceback ..."}')
    text, document = await cli("jobs", "show", str(job_id)), (await cli("jobs", "show", str(job_id), "--json")).json

    assert 0 == text.code
    for said in ("failed", "2, 2 failures counted", "40 %, half", "ValueError: no", "Traceback ...", r"hot \x1b[2J  degrees=90", '"n": 1'):
        assert said in text.out
    assert (str(job_id), "failed", 2, 3, []) == (
        document["id"],
        document["state"],
        document["attempt"],
        document["priority"],
        document["why"],
    )
    assert [(1, "failed"), (2, "failed")] == [(attempt["attempt"], attempt["ending"]) for attempt in document["attempts"]]
    assert [("warning", {"degrees": 90})] * 2 == [(line["level"], line["fields"]) for line in document["log"]]


async def test_show_says_why_a_job_does_not_run(cli: Cli, queue: Queue):
    """Through the whole command; the reasons themselves are tested with why."""
    job_id = str(await queue.put())
    await cli("queues", "pause", "work")
    text, document = await cli("jobs", "show", job_id), (await cli("jobs", "show", job_id, "--json")).json

    assert "Its queue is paused since " in text.out
    assert document["why"][0].endswith("Go on with: trunkline queues resume work")


@pytest.mark.parametrize(("job_id", "said"), [("abc", "job id 'abc': need a UUID"), (UNKNOWN, "is not known in tenant 'default'")])
async def test_show_refuses_what_is_no_job(cli: Cli, job_id: str, said: str):
    """Exit code 1; the code under --json."""
    text, document = await cli("jobs", "show", job_id), await cli("jobs", "show", job_id, "--json")

    assert (1, "") == (text.code, text.out) and said in text.err
    assert '"code":' in document.err


async def test_cancel_answers_for_each_job(cli: Cli, queue: Queue):
    """Exit code 1 unless every one is ended or told to."""
    over, running = await ended(queue, "completed"), await queue.put()
    await queue.claim(1)
    waiting = await queue.put()
    good = await cli("jobs", "cancel", str(waiting), str(running), "--reason", "enough", "--json")
    bad = await cli("jobs", "cancel", str(over), UNKNOWN)

    assert (0, ["cancelled", "requested"]) == (good.code, [job["answer"] for job in good.json["jobs"]])
    assert "enough" == (await queue.view(waiting)).error["message"]
    assert (1, f"{over}  had already ended\n{UNKNOWN}  is not known here\n") == (bad.code, bad.out)


async def test_retry_puts_failed_and_cancelled_jobs_back(cli: Cli, queue: Queue):
    """And says of the others what they are."""
    failed, cancelled, done = [await ended(queue, ending) for ending in ("failed", "cancelled", "completed")]
    answer = await cli("jobs", "retry", *map(str, (failed, cancelled, done)), UNKNOWN)

    assert 1 == answer.code
    assert {
        f"{failed}  is back in line",
        f"{cancelled}  is back in line",
        f"{done}  not_retryable (completed)",
        f"{UNKNOWN}  is not known here",
    } == set(answer.out.splitlines())
    assert ["queued", "queued"] == [await queue.state(failed), await queue.state(cancelled)]


async def test_reschedule_moves_a_job_in_time(cli: Cli, queue: Queue):
    """To a moment, by a delay, or to now."""
    job_id = await queue.put()
    at = datetime(2100, 1, 1, tzinfo=UTC)
    later = await cli("jobs", "reschedule", str(job_id), "--run-at", "2100-01-01T00:00:00Z")
    run_at = (await queue.view(job_id)).run_at
    await cli("jobs", "reschedule", str(job_id), "--delay", "0")

    assert (0, f"{job_id}  rescheduled\n", at) == (later.code, later.out, run_at)
    assert "queued" == await queue.state(job_id)
    assert 1 == (await cli("jobs", "reschedule", UNKNOWN, "--delay", "5")).code
    assert [2, 2] == [
        (await cli("jobs", "reschedule", str(job_id), *flags)).code for flags in ([], ["--delay", "1", "--run-at", "2100-01-01T00:00Z"])
    ]


async def test_reprioritize_moves_jobs_forward(cli: Cli, queue: Queue):
    """Those that have not started."""
    first, second = await queue.put(), await queue.put()
    answer = await cli("jobs", "reprioritize", str(second), UNKNOWN, "--priority", "50", "--json")

    assert (1, ["reprioritized", "not_queued"]) == (answer.code, [job["answer"] for job in answer.json["jobs"]])
    assert [second, first] == [claimed.job_id for claimed in await queue.claim(2)]
    assert 2 == (await cli("jobs", "reprioritize", str(first))).code
