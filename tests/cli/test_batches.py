"""`trunkline batches`, and what `jobs show` and `doctor` say of jobs that wait for others."""

from __future__ import annotations

import json

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


async def test_an_unknown_batch_is_said(cli: Cli, queue: Queue):
    """As a job of another tenant would be."""
    answer, no_id = await cli("batches", "show", UNKNOWN, "--json"), await cli("batches", "show", "nope")

    assert 1 == answer.code and '"code":"not_found"' in answer.err
    assert "batch id 'nope': need a UUID" in no_id.err


async def test_no_batch_yet_is_said_beside_the_answer(cli: Cli):
    """An empty list is empty."""
    answer = await cli("batches", "list")

    assert (0, "") == (answer.code, answer.out) and "No such batch." in answer.err


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
