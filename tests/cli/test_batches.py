"""`trunkline batches`, and what `jobs show` and `doctor` say of jobs that wait for others."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import Cli
from tests.sql.test_batches import filled, opened
from tests.support.queue import Queue

UNKNOWN = "0197aaaa-0000-7000-8000-000000000000"


async def test_batches_are_listed_and_shown(cli: Cli, queue: Queue):
    """Counts, and what to do about an open one."""
    batch_id, _ = await filled(queue, 2)
    await queue.complete(await queue.claim_one())
    left_open = await opened(queue)
    text, document = await cli("batches", "list"), (await cli("batches", "list", "--open", "--json")).json["batches"]
    one, still = await cli("batches", "show", str(batch_id)), await cli("batches", "show", str(left_open))

    assert [str(left_open), "open", "0"] == text.out.splitlines()[1].split()[:3]
    assert [str(batch_id), "running", "2", "1", "0", "0", "50", "%"] == text.out.splitlines()[2].split()[:8]
    assert {"total": 2, "completed": 1, "done": False, "state": "running"}.items() <= document[1].items()
    assert "1 of 2 (50 %): 1 completed, 0 failed, 0 cancelled" in one.out
    assert "trunkline batches cancel ID" in still.out


async def test_a_batch_is_sent(cli: Cli, queue: Queue):
    """From an argument or line by line, with options and callbacks."""
    jobs = [{"kind": "work", "payload": {"n": 1}, "options": {"priority": 5, "run_at": "2099-01-31T09:00:00Z"}}, {"kind": "work"}]
    sent = await cli("batches", "send", json.dumps(jobs), "--name", "summer", "--on-complete", "report")
    lines = "\n".join(json.dumps(job) for job in jobs)
    piped = await cli("batches", "send", "-", "--on-success", '{"kind": "publish", "payload": {"a": 1}}', "--json", input=lines)
    first, second = [(await cli("batches", "show", batch, "--json")).json for batch in (sent.out.strip(), piped.json["id"])]
    kept = await queue.store.fetchrow("select priority, state from trunkline.jobs where kind = 'work' order by id limit 1")

    assert [("summer", 2, "running"), (None, 2, "running")] == [(one["name"], one["total"], one["state"]) for one in (first, second)]
    assert [True, True] == [job["created"] for job in piped.json["jobs"]]
    assert (5, "scheduled") == tuple(kept)


@pytest.mark.parametrize(
    ("jobs", "code", "said"),
    [
        ("[1]", 2, "job 0 is 1: need"),
        ('[{"kind": "a", "pay": 1}]', 2, "need"),
        ('[{"kind": "a", "options": 1}]', 2, "need an object"),
        ("[{", 2, "is not JSON"),
        ('[{"kind": "a"}, {"kind": "a", "options": {"priority": 500}}]', 1, "job 1 of the batch: priority is 500"),
    ],
)
async def test_a_batch_that_is_not_understood_is_not_sent(cli: Cli, queue: Queue, jobs: str, code: int, said: str):
    """Neither is its first half; the job that is wrong is named."""
    answer = await cli("batches", "send", jobs)

    assert code == answer.code and said in answer.sentence
    assert 0 == await queue.store.fetchval("select count(*) from trunkline.jobs")


async def test_an_unknown_batch_is_said(cli: Cli, queue: Queue):
    """As a job of another tenant would be."""
    answer, no_id = await cli("batches", "show", UNKNOWN, "--json"), await cli("batches", "show", "nope")

    assert 1 == answer.code and '"code":"not_found"' in answer.err
    assert "batch id 'nope': need a UUID" in no_id.err


async def test_no_batch_yet_is_said_beside_the_answer(cli: Cli):
    """An empty list is empty."""
    answer = await cli("batches", "list")

    assert (0, "") == (answer.code, answer.out) and "No batch" in answer.err


async def test_waiting_says_by_its_exit_code_whether_all_completed(cli: Cli, queue: Queue):
    """Or whether the time was over."""
    good, _ = await filled(queue, 1)
    await queue.complete(await queue.claim_one())
    bad, _ = await filled(queue, 1)
    await queue.settle(await queue.claim_one(), "fatal")
    late, _ = await filled(queue, 1)
    answers = [await cli("batches", "wait", str(batch), "--timeout", "0.1") for batch in (good, bad, late)]

    assert [0, 1, 1] == [answer.code for answer in answers]
    assert "done" in answers[1].out and "1 of 1 jobs left" in answers[2].err


async def test_a_batch_is_cancelled(cli: Cli, queue: Queue):
    """What waits ends; what runs is told."""
    batch_id, _ = await filled(queue, 3)
    await queue.claim_one()
    answer = await cli("batches", "cancel", str(batch_id), "--reason", "enough")

    assert "2 jobs cancelled, 1 running job told to end.\n" == answer.out
    assert {"cancelled": 0, "requested": 1} == {
        name: value for name, value in (await cli("batches", "cancel", str(batch_id), "--json")).json.items() if name != "id"
    }


async def test_the_failed_are_listed_a_page_at_a_time(cli: Cli, queue: Queue):
    """With the cursor of the next page."""
    batch_id, ids = await filled(queue, 3)
    none = await cli("batches", "failed", str(batch_id))
    for claimed in await queue.claim(3):
        await queue.settle(claimed, "fatal", error=json.dumps({"type": "Fail", "message": "no room"}))
    first = await cli("batches", "failed", str(batch_id), "--limit", "2")
    rest = (await cli("batches", "failed", str(batch_id), "--after", str(ids[1]), "--json")).json

    assert "None failed.\n" == none.out
    assert 3 == len(first.out.splitlines()) and f"--after {ids[1]}" in first.err and "Fail: no room" in first.out
    assert ([str(ids[2])], None) == ([job["id"] for job in rest["failed"]], rest["cursor"])


async def test_a_job_that_waits_says_for_what(cli: Cli, queue: Queue):
    """Which of its parents are open, and how they stand."""
    running, waiting = await queue.put_plain(2)
    await queue.claim(1)
    child = await queue.put(depends_on=[running, waiting])
    text, listed = await cli("jobs", "show", str(child)), (await cli("jobs", "list", "--state", "waiting", "--json")).json["jobs"]

    assert "It waits until these 2 jobs have ended" in text.out
    assert f"{running} work is active" in text.out and f"{waiting} work is queued" in text.out
    assert [str(child)] == [job["id"] for job in listed]


async def test_the_doctor_names_batches_that_nobody_seals(cli: Cli, queue: Queue):
    """After an hour."""
    batch_id = await opened(queue)
    await queue.store.fetch("update trunkline.batch set created_at = created_at - interval '2 hours'")
    answer = await cli("doctor")

    assert "open batches" in answer.out and str(batch_id) in answer.out
