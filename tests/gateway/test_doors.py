"""Who gets in, what senders may ask, and what a socket may not do to the others."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from tests.gateway.conftest import EVERYWHERE
from tests.support.until import until
from trunkline.auth import Tokens
from trunkline.auth.mode import TEST_TOKEN
from trunkline.errors import InvalidSetting
from trunkline.gateway import raw
from trunkline.gateway.gateway import MOST_AT_ONCE
from trunkline.gateway.said import Said
from trunkline.model.job import new_id
from trunkline.realtime import Event
from trunkline.wire.pushes import CancelledPush, Progress


async def test_a_token_in_the_header_or_in_the_first_message_lets_in(dial, token):
    """With the connection's id and the customer's."""
    plain = await token()
    by_header, by_message = await dial(plain), await dial()
    await by_message.socket.send(json.dumps({"type": "authenticate", "data": {"customerToken": plain}}))
    ready = [(await client.pushed("client_ready"))[0] for client in (by_header, by_message)]

    assert ["customer-001", "customer-001"] == [each["customerId"] for each in ready]
    assert ready[0]["id"] != ready[1]["id"] and len(ready[0]["id"]) >= 24


@EVERYWHERE
async def test_the_test_token_lets_in_during_development(dial):
    """As the documentation of existing clients says."""
    assert [{"customerId": "customer-001"}] == [
        {"customerId": each["customerId"]} for each in await (await dial(TEST_TOKEN)).pushed("client_ready")
    ]


async def test_nobody_else_gets_in(dial):
    """One sentence, then the end; nothing else is answered."""
    required, invalid = "Authentication required", "Invalid authentication token"
    cases = [
        ({"type": "authenticate", "data": {"customerToken": "wrong-token"}}, invalid),
        ({"type": "authenticate", "data": {"customerToken": "x" * 100}}, invalid),
        ({"type": "authenticate", "data": {}}, required),
        ({"type": "authenticate", "data": {"customerToken": 5}}, required),
        ({"type": "send_job", "data": {"name": "a"}}, required),
        ([], required),
        ("x", required),
    ]
    for first, error in cases:
        client = await dial()
        await client.socket.send(json.dumps(first))
        code, _ = await client.until_closed()

        assert (4401, {"error": [error]}) == (code, client.pushes), first


async def test_a_bad_header_is_not_given_a_second_chance(dial):
    """It said who it is."""
    client = await dial("wrong-token")

    assert 4401 == (await client.until_closed())[0] and ["Invalid authentication token"] == client.pushes["error"]


async def test_a_socket_that_says_nothing_is_closed(dial, monkeypatch):
    """It would hold a place for ever."""
    monkeypatch.setattr(raw, "HELLO_WITHIN_S", 0.1)
    client = await dial()

    assert 4401 == (await client.until_closed())[0] and ["Authentication required"] == client.pushes["error"]


@EVERYWHERE
async def test_a_token_that_is_revoked_cuts_its_sockets(app, join):
    """And no other's; its jobs go to others."""
    tenant_id = await app.tenant_id("customer-001")
    token_id, plain = await Tokens(app.store).create(tenant_id)
    cut, stays = await join(plain=plain), await join()
    await Tokens(app.store).deactivate(tenant_id, token_id)
    code, _ = await cut.until_closed()

    assert (4401, ["Invalid authentication token"]) == (code, cut.pushes["error"])
    await stays.ok("send_job", name="resize", data={})


@EVERYWHERE
async def test_a_scope_that_is_missing_is_forbidden(join):
    """With a sentence that says which."""
    job = {"jobName": "a", "jobId": "0197aaaa-0000-7000-8000-000000000000"}
    clients = {scopes: await join("customer-001", *scopes) for scopes in (("work",), ("send",), ("watch",), ("send", "work", "watch"))}
    cases = [
        (("work",), "send_job", {"name": "a", "data": {}}, "'send'"),
        (("work",), "get_job", job, "'send' or 'watch'"),
        (("work",), "get_queue_size", {"jobName": "a"}, "'send' or 'watch'"),
        (("watch",), "register_worker", {"jobName": "a"}, "'work'"),
        (("work",), "cancel_job", job, "'send'"),
        (("send",), "register_worker", {"jobName": "a"}, "'work'"),
        (("send",), "job_completed", job, "'work'"),
        (("send",), "send_job", {"name": "a", "data": {}, "options": {"userId": "somebody"}}, "'admin'"),
        (("send", "work", "watch"), "send_job", {"name": "schema_rebuild", "data": {}}, "'admin'"),
    ]
    for scopes, call, fields, needed in cases:
        answer = await clients[scopes].ask(call, **fields)

        assert ("error", "forbidden") == (answer["status"], answer["code"]) and f"the scope {needed}" in answer["error"], answer


async def test_an_administrator_may_send_for_a_user_and_what_is_reserved(app, join):
    """Of its own tenant."""
    admin = await join("customer-001", "admin")
    job_id = (await admin.ok("send_job", name="schema_rebuild", data={}, options={"userId": "u-1"}))["jobId"]

    assert ("u-1", "schema-rebuild") == ((job := await app.get(job_id, tenant="customer-001")).user_id, job.kind)


@EVERYWHERE
async def test_another_tenant_sees_and_touches_nothing(app, join, worker):
    """Not its jobs, not its queues, not its events, not its work."""
    mine, theirs = await worker(), await worker(tenant="customer-002")
    job_id = (await mine.ok("send_job", name="resize", data={"note": 1}))["jobId"]
    await mine.pushed("work_request")
    await mine.ok("job_progress", jobName="resize", jobId=job_id, progress=10)
    asked = [
        await theirs.ask("get_job", jobName="resize", jobId=job_id),
        await theirs.ask("cancel_job", jobName="resize", jobId=job_id),
        await theirs.ask("get_queue_size", jobName="resize", before="failed"),
        await theirs.ask("job_completed", jobName="resize", jobId=job_id, attempt=1),
    ]
    await mine.ok("job_completed", jobName="resize", jobId=job_id)
    await mine.pushed("job_completed")

    assert (None, "not_found", 0, "lease_lost") == (asked[0]["job"], asked[1]["code"], asked[2]["queueSize"], asked[3]["code"])
    assert {"client_ready"} == set(theirs.pushes)


@EVERYWHERE
async def test_pure_workers_hear_no_events(join, worker):
    """`events: false`; nor does a token that may neither send nor watch."""
    remote, only_works, sender = await worker(events="false"), await join("customer-001", "work"), await join()
    job_id = (await sender.ok("send_job", name="resize", data={}))["jobId"]
    await remote.pushed("work_request")
    await remote.ok("job_completed", jobName="resize", jobId=job_id)
    await sender.pushed("job_completed")

    assert ({"client_ready", "work_request"}, {"client_ready"}) == (set(remote.pushes), set(only_works.pushes))


@EVERYWHERE
async def test_keys_answer_as_the_contract_says(join):
    """A singleton that is held is null, a repeated idempotency key the same id, whichever comes first when both are given."""
    client = await join()

    async def send(**options):
        return (await client.ok("send_job", name="resize", data={}, options=options))["jobId"]

    single, again = await send(singletonKey="s"), await send(singletonKey="s")
    keyed, repeated = await send(idempotencyKey="i"), await send(idempotencyKey="i")
    both, both_again, blocked = (
        await send(idempotencyKey="x", singletonKey="y"),
        await send(idempotencyKey="x", singletonKey="y"),
        await send(idempotencyKey="z", singletonKey="y"),
    )

    assert single is not None and again is None
    assert keyed is not None and keyed == repeated
    assert both is not None and (both, None) == (both_again, blocked)


@EVERYWHERE
async def test_queue_sizes_count_what_stands_before_a_state(app, join, worker):
    """Created, retry, active, completed, cancelled."""
    remote, sender = await worker(2), await join()
    ids = [(await sender.ok("send_job", name="resize", data={}, options={"retryDelay": 60}))["jobId"] for _ in range(6)]
    await remote.pushed("work_request", 2)
    await remote.ok("job_completed", jobName="resize", jobId=ids[0])
    await remote.ok("job_failed", jobName="resize", jobId=ids[1], error="again")
    await remote.pushed("work_request", 4)  # two active, two wait
    await sender.ok("cancel_job", jobName="resize", jobId=ids[5])

    sizes = {
        before: (await sender.ok("get_queue_size", jobName="resize", before=before))["queueSize"]
        for before in ("retry", "active", "completed", "cancelled", "failed")
    }
    assert {"retry": 1, "active": 2, "completed": 4, "cancelled": 5, "failed": 6} == sizes
    assert 0 == (await sender.ok("get_queue_size", jobName="unknown"))["queueSize"]


async def test_what_cannot_be_read_is_answered_in_its_place(join):
    """And costs nobody else anything: not the frame, not the socket."""
    client = await join()
    await client.socket.send(
        '[{"id":"a","type":"nonsense"},{"id":"b","type":"get_queue_size","data":{"jobName":""}},{"id":"c","type":""},5]'
    )
    await client.socket.send("[" * 50_000)
    await client.socket.send('{"id":"d","type":"send_job","data":{"name":"a","data":{"x":1,"x":2}}}')
    await client.socket.send(b'{"id":"e","type":"get_queue_size","data":{"jobName":"a"}}')
    await client.socket.send('{"id":"f","type":"schedule_job","data":{"name":"a","cronPattern":"* * * * *"}}')
    replies = {reply["id"]: reply["data"] for reply in await client.pushed("reply", 8) if reply["id"]}

    assert {"a": "unknown_call", "b": "invalid_input", "c": "invalid_input", "e": None, "f": None} == {
        i: data.get("code") for i, data in replies.items()
    }
    assert {"invalid_input", "invalid_payload"} == {reply["data"]["code"] for reply in client.pushes["reply"] if reply["id"] is None}


async def test_a_call_without_an_id_is_carried_out_all_the_same(app, join):
    """Also when its client goes at once."""
    client = await join()
    await client.socket.send(json.dumps([{"type": "send_job", "data": {"name": "resize", "data": {"n": n}}} for n in range(50)]))
    await client.close()
    tenant_id = await app.tenant_id("customer-001")

    async def count():
        return await app.store.fetchval("select count(*) from trunkline.ready where tenant_id = $1", tenant_id)

    await until(lambda: _is(count, 50), "fifty jobs are there")


async def _is(count, wanted):
    return wanted == await count()


async def test_a_frame_that_is_too_large_ends_its_socket_only(join):
    """Before it is held in memory."""
    client, other = await join(), await join()
    await client.socket.send('{"type":"send_job","data":{"name":"a","data":"' + "x" * (2 * 1024 * 1024) + '"}}')

    assert 1009 == (await client.until_closed())[0]
    await other.ok("send_job", name="a", data={})


@EVERYWHERE
async def test_a_payload_above_the_limit_is_refused_by_name(join):
    """The frame may be larger than a payload."""
    answer = await (await join()).ask("send_job", name="a", data="x" * 1_100_000)

    assert "invalid_payload" == answer["code"] and "at most 1048576" in answer["error"]


async def test_a_client_that_does_not_read_is_disconnected_and_nobody_waits(app, server, join, token, monkeypatch):
    """What waits for it is bounded."""
    monkeypatch.setattr(raw, "MOST_OUT_BYTES", 1_000_000)
    deaf, client = await join(), await join()
    deaf.socket.transport.pause_reading()
    for _ in range(60):
        await client.ok("send_job", name="resize", data={})
        server.gateway.audience._hear([_large(await app.tenant_id("customer-001"))])
    await until(lambda: server.gateway.connections == 1, "the deaf client is out")

    await client.ok("send_job", name="resize", data={})
    deaf.kill()


def _large(tenant_id: int) -> Event:
    data = b'"' + b"x" * 200_000 + b'"'
    return Event(tenant_id, "", "completed", "completed", data, datetime.now(UTC), job_id=new_id(), queue="x")


async def test_progress_waits_as_the_latest_of_its_job():
    """And what waits is counted by what will be sent."""
    peer, jobs = raw.RawPeer(cast(Any, None), cast(Any, None)), [new_id(), new_id()]
    for n in range(100):
        for job_id in jobs:
            peer.hear(Said(Progress(job_name="a", job_id=job_id, progress=n, message="x" * (100 - n))))
    peer.hear(Said(CancelledPush(job_id=jobs[0], cancelled_at=datetime.now(UTC))))
    waiting = peer._out_bytes
    frames = [peer._next() for _ in range(3)]

    assert [b'"progress":99', b'"progress":99', b'"job_cancelled"'] == [re.findall(rb'"progress":99|"job_cancelled"', f)[0] for f in frames]
    assert waiting == sum(map(len, frames)) and not peer._out and not peer._by_key


@EVERYWHERE
async def test_many_calls_at_once_are_all_answered(join):
    """In arrays as they were asked."""
    client = await join()
    answers = await asyncio.gather(*(client.ask_many([("send_job", {"name": "resize", "data": {"n": n}})] * 200) for n in range(10)))

    assert {"ok"} == {answer["status"] for answers_ in answers for answer in answers_}
    assert 2000 == len({answer["jobId"] for answers_ in answers for answer in answers_})
    assert 2000 == (await client.ok("get_queue_size", jobName="resize"))["queueSize"]


async def test_production_does_not_open_with_the_test_token(app):
    """It would be open to everybody who reads the documentation."""
    await app.start_gateway(port=0, mode="development")
    await app.stop_gateway(0)
    with pytest.raises(InvalidSetting, match="trunkline tokens deactivate"):
        await app.start_gateway(port=0, mode="production")


async def test_a_port_that_is_taken_is_said(app, server):
    """With its number; nothing is left half open."""
    from trunkline import Trunkline

    async with Trunkline(settings=app.settings) as other:
        with pytest.raises(InvalidSetting, match=f"port {server.port}"):
            await other.start_gateway(port=server.port, mode="development")


async def test_a_tenant_that_asks_without_end_does_not_take_every_connection(app, join, monkeypatch):
    """Its questions wait for each other; another tenant's is answered meanwhile."""
    busy, other = await join(), await join("customer-002")
    job_id = (await other.ok("send_job", name="resize", data={}))["jobId"]
    may_answer, asking = asyncio.Event(), 0
    ask = app.queue_size

    async def slow(*args, **kwargs):
        nonlocal asking
        asking += 1
        await may_answer.wait()
        return await ask(*args, **kwargs)

    monkeypatch.setattr(app, "queue_size", slow)
    flood = asyncio.create_task(busy.ask_many([("get_queue_size", {"jobName": "resize"})] * 250))
    await until(lambda: asking, "it asks")
    probe = await other.ok("get_job", jobName="resize", jobId=job_id)
    assert (MOST_AT_ONCE, job_id) == (asking, probe["job"]["id"])
    may_answer.set()

    assert {"ok"} == {answer["status"] for answer in await flood}
