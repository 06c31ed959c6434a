"""Jobs sent together over a socket, and awaited together: all or nothing, and waiting costs nobody else anything."""

from __future__ import annotations

import asyncio

from tests.support.until import until
from trunkline.gateway import waits
from trunkline.model.job import new_id


async def finish(remote, ids, failing=()):
    """Report all of these jobs."""
    await remote.pushed("work_request", len(ids))
    for job_id in ids:
        if job_id in failing:
            await remote.ok("job_failed", jobName="resize", jobId=job_id, error="no", retryable=False)
        else:
            await remote.ok("job_completed", jobName="resize", jobId=job_id)


async def test_a_batch_is_sent_and_awaited(join, worker):
    """The answer comes with the last ending, with what became of each."""
    remote, sender = await worker(5), await join()
    sent = await sender.ok("send_batch", jobs=[{"name": "resize", "data": {"n": n}, "options": {"priority": 9 - n}} for n in range(3)])
    early = await sender.ok("wait_for_batch", batchId=sent["batchId"], timeoutMs=0)
    waiting = asyncio.create_task(sender.ok("wait_for_batch", batchId=sent["batchId"]))
    await finish(remote, sent["jobIds"], failing=sent["jobIds"][2:])

    counts = {"status": "ok", "batchId": sent["batchId"], "total": 3, "completed": 2, "failed": 1, "cancelled": 0, "done": True}
    assert {**counts, "completed": 0, "failed": 0, "done": False} == early
    assert counts == await waiting
    assert counts == await sender.ok("wait_for_batch", batchId=sent["batchId"])
    assert [0, 1, 2] == [request["data"]["n"] for request in remote.pushes["work_request"]]


async def test_a_batch_is_sent_whole_or_not_at_all(app, join):
    """The sentence says which job, from 0."""
    client = await join()
    good = {"name": "resize", "data": {}}
    for bad, code, words in (
        ({"name": "a/b"}, "invalid_input", "job 1 of the batch: "),
        ({"name": "resize", "options": {"startAfter": "soon"}}, "invalid_input", "job 1 of the batch: startAfter"),
        ({"name": "schema_rebuild"}, "forbidden", "job 1 of the batch: "),
        ({"name": "resize", "data": {"password": "x"}}, "secret_in_payload", "job 1 of the batch: "),
        ({"name": "resize", "options": {"id": "0197aaaa-0000-4000-8000-000000000000"}}, "bad_id", ""),
    ):
        answer = await client.ask("send_batch", jobs=[good, bad])

        assert code == answer.get("code") and words in answer["error"], answer
    assert 0 == (await client.ok("get_queue_size", jobName="resize", before="failed"))["queueSize"]


async def test_a_duplicate_is_named_and_not_counted(join):
    """The id of the job that holds its key; the batch does not wait for it."""
    client = await join()
    held = (await client.ok("send_job", name="resize", data={}, options={"idempotencyKey": "k"}))["jobId"]
    single = (await client.ok("send_job", name="resize", data={}, options={"singletonKey": "s"}))["jobId"]
    jobs = [
        {"name": "resize", "options": {"idempotencyKey": "k"}},
        {"name": "resize", "options": {"singletonKey": "s"}},
        {"name": "resize"},
    ]
    sent = await client.ok("send_batch", jobs=jobs)

    assert [held, single] == sent["jobIds"][:2] and sent["jobIds"][2] not in (held, single)
    assert 1 == (await client.ok("wait_for_batch", batchId=sent["batchId"], timeoutMs=0))["total"]


async def test_a_batch_said_again_with_its_ids_is_the_same_batch(join):
    """After an answer that was lost."""
    client = await join()
    batch_id, ids = str(new_id()), [str(new_id()) for _ in range(3)]
    jobs = [{"name": "resize", "options": {"id": each}} for each in ids]
    sent = [await client.ok("send_batch", batchId=batch_id, jobs=jobs) for _ in range(2)]

    assert sent[0] == sent[1] == {"status": "ok", "batchId": batch_id, "jobIds": ids}
    assert 3 == (await client.ok("wait_for_batch", batchId=batch_id, timeoutMs=0))["total"]
    assert 3 == (await client.ok("get_queue_size", jobName="resize"))["queueSize"]


async def test_batches_of_others_are_not_found(join):
    """In the words of one that never was; and their ids may be taken for batches of one's own."""
    mine, theirs = await join(), await join("customer-002")
    batch_id = (await mine.ok("send_batch", jobs=[{"name": "resize"}]))["batchId"]
    answers = [await theirs.ask("wait_for_batch", batchId=each, timeoutMs=0) for each in (batch_id, str(new_id()))]
    await theirs.ok("send_batch", batchId=batch_id, jobs=[{"name": "resize"}, {"name": "resize"}])

    assert ["not_found", "not_found"] == [answer["code"] for answer in answers]
    assert answers[0]["error"].replace(batch_id, "") == answers[1]["error"].replace(answers[1]["error"].split()[1].rstrip(":"), "")
    assert [1, 2] == [(await each.ok("wait_for_batch", batchId=batch_id, timeoutMs=0))["total"] for each in (mine, theirs)]


async def test_sending_and_waiting_need_their_scopes(join):
    """`send` for one, `send` or `watch` for the other."""
    works, watches = await join("customer-001", "work"), await join("customer-001", "watch")

    assert "forbidden" == (await works.ask("send_batch", jobs=[{"name": "a"}]))["code"]
    assert "forbidden" == (await watches.ask("send_batch", jobs=[{"name": "a"}]))["code"]
    assert "forbidden" == (await works.ask("wait_for_batch", batchId=str(new_id())))["code"]
    assert "not_found" == (await watches.ask("wait_for_batch", batchId=str(new_id())))["code"]


async def test_many_who_wait_share_one_watch_and_hold_up_nobody(app, server, join, worker):
    """Not the socket's other calls, not the few turns of the tenant; the batch is read a few times, not once for each."""
    remote, sender, other = await worker(1), await join(), await join()
    sent = await sender.ok("send_batch", jobs=[{"name": "resize"}])
    reads, get = [], app.batches.get

    async def counted(batch_id, **how):
        reads.append(batch_id)
        return await get(batch_id, **how)

    app.batches.get = counted
    waiting = [asyncio.create_task(each.ok("wait_for_batch", batchId=sent["batchId"])) for each in (sender, other) for _ in range(100)]
    await until(lambda: sum(len(each.waits) for each in server.gateway._in.values()) == 200, "all of them wait")
    assert "active" == (await sender.ok("get_job", jobName="resize", jobId=sent["jobIds"][0]))["job"]["state"]
    await finish(remote, sent["jobIds"])

    assert {True} == {answer["done"] for answer in await asyncio.gather(*waiting)}
    assert len(reads) <= 3
    assert {} == server.gateway._waits._watches


async def test_who_waits_for_too_many_is_told_so(server, join, monkeypatch):
    """A socket has so many calls under way; the rest of it goes on."""
    monkeypatch.setattr(waits, "MOST_OF_CONNECTION", 3)
    client = await join()
    batch_id = (await client.ok("send_batch", jobs=[{"name": "resize"}]))["batchId"]
    waiting = [asyncio.create_task(client.ok("wait_for_batch", batchId=batch_id, timeoutMs=600)) for _ in range(3)]
    await until(lambda: sum(len(each.waits) for each in server.gateway._in.values()) == 3, "they wait")
    answer = await client.ask("wait_for_batch", batchId=batch_id)

    assert ("rate_limited", True) == (answer["code"], answer["retryable"])
    assert [False] * 3 == [each["done"] for each in await asyncio.gather(*waiting)]


async def test_a_wait_ends_with_its_connection(server, join):
    """Nothing waits for an hour for somebody who has gone."""
    client = await join()
    batch_id = (await client.ok("send_batch", jobs=[{"name": "resize"}]))["batchId"]
    waiting = asyncio.create_task(client.ask("wait_for_batch", batchId=batch_id, timeoutMs=3_600_000))
    await until(lambda: server.gateway._waits._watches, "it waits")
    client.kill()
    await until(lambda: not server.gateway._waits._watches, "the gateway waits no more")
    waiting.cancel()

    assert {} == server.gateway._waits._watches


async def test_counts_are_those_of_the_moment(join, worker):
    """Not of a moment ago, however often one asks."""
    remote, client = await worker(5), await join()
    sent = await client.ok("send_batch", jobs=[{"name": "resize"}] * 5)
    await remote.pushed("work_request", 5)
    seen = []
    for job_id in sent["jobIds"]:
        await remote.ok("job_completed", jobName="resize", jobId=job_id)
        answers = await client.ask_many([("wait_for_batch", {"batchId": sent["batchId"], "timeoutMs": 0})] * 3)
        seen += {(answer["completed"], answer["done"]) for answer in answers}

    assert [(n, n == 5) for n in range(1, 6)] == seen


async def test_a_batch_of_nothing_new_is_done_at_once(join):
    """All of its jobs were there before."""
    client = await join()
    await client.ok("send_job", name="resize", data={}, options={"idempotencyKey": "k"})
    sent = await client.ok("send_batch", jobs=[{"name": "resize", "options": {"idempotencyKey": "k"}}])
    answer = await client.ok("wait_for_batch", batchId=sent["batchId"])

    assert (0, True) == (answer["total"], answer["done"])


async def test_a_wait_is_bounded(join):
    """An hour at the most."""
    client = await join()
    answer = await client.ask("wait_for_batch", batchId=str(new_id()), timeoutMs=3_600_001)

    assert "invalid_input" == answer["code"] and "timeoutMs" in answer["error"]
