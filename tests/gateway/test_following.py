"""The user dialect on /socket.io, default namespace: who somebody is, which jobs it may follow, and what it is told of them.

One gateway for the module: tests keep apart by their tenants.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import jwt
import pytest
import pytest_asyncio
import socketio
from websockets.exceptions import ConnectionClosed

from tests.gateway.bare import Bare
from tests.gateway.node import Node
from tests.gateway.test_abuse import clean_log  # noqa: F401 - nothing that happens here is an error of ours
from tests.support.gateways import soon_counted
from tests.support.until import until
from trunkline import Trunkline
from trunkline.auth import Tokens
from trunkline.errors import TimedOut
from trunkline.gateway import recovery, statuses, telling
from trunkline.model.job import new_id
from trunkline.realtime import Event
from trunkline.settings import Settings
from trunkline.store.admin import create_database, drop_database

pytestmark = pytest.mark.asyncio(loop_scope="module")
SECRET = "s" * 40
GIVEN = {"shutdown_timeout_s": 2, "jwt_secret": SECRET, "jwt_audience": "us", "env": "development", "address_connect_rate": 1000}
HOME = "default"  # the worker of these tests serves its jobs
LATER = datetime.now(UTC) + timedelta(days=1)
shared = pytest_asyncio.fixture(scope="module", loop_scope="module")


@shared
async def url(trunkline_server_url: str, trunkline_template: str) -> AsyncIterator[str]:
    name = f"trunkline_test_{uuid4().hex[:16]}"
    yield await create_database(trunkline_server_url, name, template=trunkline_template)
    await drop_database(trunkline_server_url, name)


@shared
async def gates() -> dict[str, asyncio.Event]:
    """What handlers wait for, by the word in their payload."""
    return defaultdict(asyncio.Event)


@shared
async def app(url: str, gates: dict[str, asyncio.Event]) -> AsyncIterator[Trunkline]:
    async with Trunkline(settings=Settings.load({}, database_url=url, **GIVEN)) as app:

        @app.job("rebuild", retry_limit=0)
        async def rebuild(job, gate: str):
            await job.progress(25, "Validating connection...", current=1, total=4)
            await gates[gate].wait()
            return {"tables": 3}

        @app.job("fall", retry_limit=1, retry_delay=0)
        async def fall(gate: str):
            await gates[gate].wait()
            raise ValueError("no such table")

        @app.job("quick")
        async def quick():
            return None

        yield app


@shared
async def server(app: Trunkline):
    with soon_counted():
        made = await app.start_gateway(port=0, mode="development", api=True)
    await app.start_worker()
    yield made
    await app.stop_gateway(0.0)


def token(name: str, tenant: str, *, key: Any = SECRET, algorithm: str = "HS256", **claims: Any) -> str:
    claims = {"sub": name, "tenant": tenant, "aud": "us", "exp": int(time.time()) + 600, **claims}
    return jwt.encode({name: value for name, value in claims.items() if value is not None}, key, algorithm=algorithm)


@pytest.fixture
def tenant() -> str:
    return f"t-{uuid4().hex[:8]}"


@pytest_asyncio.fixture(loop_scope="module")
async def door(server):
    """Open a socket; `auth` as it is, nothing said yet."""
    async with AsyncExitStack() as stack:

        async def come(auth: Any = None, namespace: str = "/", port: int = 0) -> Bare:
            made = await Bare.open(port or server.port, auth, path="/socket.io", namespace=namespace)
            stack.push_async_callback(made.close)
            return made

        yield come


@pytest.fixture
def come(door, tenant):
    """A user that is known."""

    async def known(name: str, *, of: str | None = None, recovery: Any = None, **claims: Any) -> Bare:
        auth = {"token": token(name, of or tenant, **claims), **({} if recovery is None else recovery)}
        made = await (await door(auth)).let_in()
        assert [{"userId": name}] == await made.until("authenticated")
        return made

    return known


async def say(client: Bare, *calls: Any, numbered: bool = True) -> None:
    """Send calls without waiting for anything; the gateway may end the socket meanwhile."""
    with suppress(ConnectionClosed):
        for number, call in enumerate(calls):
            await client.socket.send(f"42{number if numbered else ''}{json.dumps(call)}")


def told(client: Bare, job_id: UUID | str) -> list[Any]:
    """What a client heard of a job, a word each."""
    return [
        data["status"] if event == "job:status" else event
        for event, data in client.heard
        if event.startswith("job:") and data["jobId"] == str(job_id)
    ]


async def test_an_unmodified_client_follows_a_job_from_the_api_to_its_end(app, server, gates):
    """It says who it is and subscribes in one breath; REST → worker → its events."""
    ann = token("ann", HOME)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", headers={"Authorization": f"Bearer {ann}"}) as api:
        made = (await api.post("/api/jobs", json={"type": "rebuild", "payload": {"gate": "rebuild"}})).json()
        client = await Node.start("seed-001.mjs", str(api.base_url), ann, made["id"], "plain")
        try:
            await client.saw("authenticated")
            await until(lambda: any("progress" in each for each in client.seen("job:status")), "it hears how far it is")
            gates["rebuild"].set()
            (done,) = await client.saw("job:completed")
            await client.order("leave")
            (left,) = await client.saw("left")
        finally:
            await client.stop()
        stands = (await api.get(f"/api/jobs/{made['id']}")).json()
    *_, last = client.seen("job:status")

    assert [{"userId": "ann"}] == client.seen("authenticated")
    assert {"jobId": made["id"], "status": "active"} == {key: last[key] for key in ("jobId", "status")}
    assert {"current": 1, "total": 4, "percentage": 25, "message": "Validating connection..."} == last["progress"]
    assert {"jobId": made["id"], "result": {"tables": 3}} == done
    assert {"status": "ok", "jobId": made["id"]} == left
    assert ("completed", {"tables": 3}) == (stands["status"], stands["result"])
    assert [] == [*client.seen("unauthorized"), *client.seen("connect_error"), *client.seen("job:failed")]


async def test_a_job_that_is_retried_is_queued_again_and_fails_once(app, come, gates, capsys):
    """`job:failed` is for good. A cancelled one is a status; who comes afterwards is told the end."""
    ann = await come("ann", of=HOME)
    falls = await app.enqueue("fall", {"gate": "fall"}, user_id="ann")
    cancelled = await app.enqueue("quick", {}, user_id="ann", run_at=LATER)
    for job_id in (falls, cancelled):
        await ann.ask("subscribe:job", {"jobId": str(job_id)})
    await app.cancel(cancelled)
    await until(lambda: "active" in told(ann, falls), "it runs")
    gates["fall"].set()
    await ann.until("job:failed")
    late = await come("ann", of=HOME)
    for job_id in (falls, cancelled):
        await late.ask("subscribe:job", {"jobId": str(job_id)})
    capsys.readouterr()  # the worker says what failed

    assert ["active", "queued", "active", "job:failed"] == told(ann, falls)[-4:]
    assert [{"jobId": str(falls), "error": "no such table"}] == ann.said("job:failed") == late.said("job:failed")
    assert ["queued", "cancelled"] == told(ann, cancelled)
    assert (["job:failed"], ["cancelled"]) == (told(late, falls), told(late, cancelled))


async def test_whoever_subscribes_amid_a_life_hears_the_rest_of_it_and_nothing_twice(app, come):
    """The state is told first, and then exactly what came after it, at whatever moment one asks."""
    ann = await come("ann", of=HOME)

    async def one(n: int) -> UUID:
        job_id = await app.enqueue("quick", {}, user_id="ann")
        for _ in range(n % 7):
            await asyncio.sleep(0.001)
        assert "ok" == (await ann.ask("subscribe:job", str(job_id)))["status"]  # the id alone is understood
        return job_id

    job_ids = await asyncio.gather(*(one(n) for n in range(60)))
    await until(lambda: len(ann.said("job:completed")) >= 60, "all are done")
    life = ["queued", "active", "job:completed"]

    assert [] == [told(ann, job_id) for job_id in job_ids if told(ann, job_id) not in (life, life[1:], life[2:])]


async def test_users_follow_their_own_and_an_administrator_its_tenants(app, come, tenant):
    """Whatever they ask for; another user's, another tenant's and none at all read the same. Without asking nobody hears of a job."""
    other = f"{tenant}-x"
    jobs = {name: await app.enqueue("quick", {}, user_id=name, tenant=tenant, run_at=LATER) for name in ("ann", "bob")}
    foreign = await app.enqueue("quick", {}, user_id="ann", tenant=other, run_at=LATER)
    ann, namesake, root = await come("ann"), await come("ann", of=other), await come("root", scope="admin")
    asked = [jobs["ann"], jobs["bob"], foreign, new_id()]
    answers = {
        name: [await each.ask("subscribe:job", {"jobId": str(job_id)}) for job_id in asked]
        for name, each in (("ann", ann), ("namesake", namesake), ("root", root))
    }
    strange = [
        "all-jobs",
        f"user:{tenant}",
        f"job:{jobs['bob']}",
        ["x"],
        {"jobId": ["x"]},
        {"jobId": {"a": 1}},
        {"jobId": None},
        7,
        None,
        {},
    ]
    refused = [await ann.ask(call, each) for each in strange for call in ("subscribe:job", "unsubscribe:job")]
    unknown = await ann.ask("subscribe:jobs", {})
    for job_id in jobs.values():
        await app.updates.emit_job_progress(job_id, 10, tenant=tenant)
    await app.updates.emit_to_user("ann", "notification", {"title": "for ann"}, tenant=tenant)
    await app.updates.broadcast_to_all("maintenance", {"at": "noon"}, tenant=tenant)
    await app.updates.broadcast_to_all("maintenance", {"at": "night"}, tenant=other)
    for each in (ann, namesake, root):
        await each.until("maintenance")

    not_found = {"status": "error", "error": "not found", "code": "not_found", "retryable": False}
    assert ["ok", not_found, not_found, not_found] == [answers["ann"][0]["status"], *answers["ann"][1:]]
    assert [not_found, not_found, "ok", not_found] == [*answers["namesake"][:2], answers["namesake"][2]["status"], answers["namesake"][3]]
    assert ["ok", "ok", not_found, not_found] == [answers["root"][0]["status"], answers["root"][1]["status"], *answers["root"][2:]]
    assert {"invalid_input"} == {answer["code"] for answer in refused} and "unknown_call" == unknown["code"]
    assert (["queued", "active"], []) == (told(ann, jobs["ann"]), told(ann, jobs["bob"]))
    assert ["queued", "active"] == told(root, jobs["bob"]) and ["queued"] == told(namesake, foreign)
    assert {"current": 10, "total": 100, "percentage": 10} == ann.said("job:status")[-1]["progress"]
    assert ([{"title": "for ann"}], [], []) == tuple(each.said("notification") for each in (ann, namesake, root))
    assert ({"at": "noon"}, {"at": "night"}) == (ann.said("maintenance")[0], namesake.said("maintenance")[0])


async def test_nobody_is_let_in_by_a_bad_token(app, server, door, tenant):
    """In the handshake or later, it is told so and disconnected; what it asked besides is not answered."""
    job_id = str(await app.enqueue("quick", {}, user_id="ann", tenant=tenant, run_at=LATER))
    _, machine = await Tokens(app.store).create(await app.tenant_id(tenant), scopes=("watch", "admin"))
    good = token("ann", tenant)
    bad = {
        "expired": token("ann", tenant, exp=int(time.time()) - 60),
        "of others": token("ann", tenant, aud="them"),
        "of nobody": token("ann", tenant, aud=None),
        "unsigned": token("ann", tenant, key="", algorithm="none"),
        "of another key": token("ann", tenant, key="x" * 40),
        "changed": good[:-4] + "AAAA",
        "long": token("ann", tenant, more="x" * 100_000),
        "a machine's": machine,
        "empty": "",
        "a list": [good],
        "an object": {"token": good},
        "a number": 1,
    }
    clients = {}
    for name, each in bad.items():
        clients[f"{name}, at once"] = await door({"token": each})
        clients[f"{name}, later"] = late = await door()
        await say(late, ["subscribe:job", {"jobId": job_id}], ["authenticate", {"token": each}], ["subscribe:job", job_id])
    clients["a list for auth"] = await door([1])
    clients["nothing to say"] = none = await door()
    await say(none, ["authenticate"])
    for name, client in clients.items():
        await until(lambda client=client: client.closed is not None, f"{name}: it is closed; there is {client.heard}")

    assert [] == [name for name, client in clients.items() if ["unauthorized"] != [event for event, _ in client.heard] or client.answered]
    assert 1 == len({json.dumps(client.heard) for client in clients.values()})  # in the same words
    await until(lambda: 0 == server.watchers.connections and not server.dialects["/"]._turns, "nothing of them is left")


async def test_whoever_says_nothing_is_cut_and_hears_nothing_before(server, door, monkeypatch):
    """Calls are not answered, however many; then it is told what was missing."""
    monkeypatch.setattr(server.dialects["/"], "hello_within_s", 0.4)
    silent, flood = await door(), await door({"recovery": True, "pid": "x", "offset": "y"})
    await say(flood, *(["subscribe:job", {"jobId": str(new_id())}] for _ in range(500)))
    for each in (silent, flood):
        await until(lambda each=each: each.closed is not None, "it is cut")

    assert {"message": "say authenticate {token} within 0.4 s."} == silent.said("unauthorized")[0]
    assert [["unauthorized"]] * 2 == [[event for event, _ in each.heard] for each in (silent, flood)] and not flood.answered
    assert "pid" not in flood.accepted


async def test_who_somebody_is_can_be_said_again_but_never_changed(app, server, door, come, tenant):
    """A fresh token takes the place of the old one, which may be over then; anybody else's ends the connection."""
    ann = await come("ann", exp=int(time.time()) + 30)
    (state,) = (link.state for link in server.dialects["/"]._turns if link.state is not None and link.state.principal.tenant == tenant)
    before = state.principal.expires_at
    again = await ann.ask("authenticate", {"token": token("ann", tenant)})
    after, ends = state.principal.expires_at, set(server.gateway._revocations._ending.values())
    others = {
        "bob": token("bob", tenant),
        "her namesake": token("ann", f"{tenant}-x"),
        "ann with more rights": token("ann", tenant, scope="admin"),
        "nobody": "x",
    }
    twice = [await come("ann") for _ in others]
    for client, said in zip(twice, others.values(), strict=True):
        await say(client, ["authenticate", {"token": said}], numbered=False)
    for client in twice:
        await until(lambda client=client: client.closed is not None, "it is cut")
    over = await door({"token": token("ann", tenant, exp=int(time.time()) - 2)})  # clocks may differ by so much
    await until(lambda: over.closed is not None, "its token is over")

    assert {"status": "ok", "userId": "ann"} == again and [{"userId": "ann"}] * 2 == ann.said("authenticated")
    assert before < after and ann.closed is None and (before in ends, after in ends) == (False, True)
    assert [["authenticated", "unauthorized"]] * 5 == [[event for event, _ in each.heard] for each in (*twice, over)]


async def test_one_socket_follows_so_much_and_what_it_asks_is_done_in_order(app, server, come, tenant, monkeypatch):
    """Rooms are bounded and given back; a subscription that is undone in the same breath is undone."""
    monkeypatch.setattr(server.watchers.rooms, "_most", 22)
    ids = [str(await app.enqueue("quick", {}, user_id="ann", tenant=tenant, run_at=LATER)) for _ in range(25)]
    ann = await come("ann")
    answers = await asyncio.gather(*(ann.ask("subscribe:job", {"jobId": job_id}) for job_id in ids))
    refused = [answer for answer in answers if answer["status"] == "error"]
    await asyncio.gather(*(ann.ask("unsubscribe:job", {"jobId": job_id}) for job_id in ids))
    flood = await asyncio.gather(*(ann.ask("subscribe:job", {"jobId": str(new_id())}) for _ in range(300)))
    both = [ann.ask(call, ids[0]) for _ in range(10) for call in ("subscribe:job", "unsubscribe:job")]
    done = await asyncio.gather(*both)
    before = len(told(ann, ids[0]))
    await app.cancel(ids[0], tenant=tenant)
    await app.updates.broadcast_to_all("maintenance", {}, tenant=tenant)
    await ann.until("maintenance")

    assert 5 == len(refused) and all("22 rooms" in answer["error"] for answer in refused)  # everybody's and her own are two
    assert {"not_found", "rate_limited"} >= {answer["code"] for answer in flood}
    assert {"ok"} == {answer["status"] for answer in done} and before == len(told(ann, ids[0]))
    tenant_id = await app.tenant_id(tenant)
    assert {"everyone", "inbox:ann"} == {room for of, room in server.watchers.rooms._members if of == tenant_id}


async def test_what_cannot_be_said_now_leaves_a_subscription_as_it_was(app, server, come, tenant, monkeypatch):
    """The database does not answer while the state is looked at: what was followed is followed on and loses nothing, what was not is not."""
    old, new = [await app.enqueue("quick", {}, user_id="ann", tenant=tenant, run_at=LATER) for _ in range(2)]
    ann, offsets = await come("ann", recovery={"recovery": True}), []
    await ann.ask("subscribe:job", {"jobId": str(old)})
    (state,) = (link.state for link in server.dialects["/"]._turns if link.state is not None and link.state.principal.tenant == tenant)

    async def too_late(_: int) -> None:
        (job_id,) = state.arriving
        await app.updates.emit_job_progress(job_id, 10, tenant=tenant)
        await until(lambda: state.arriving[job_id], "it is held back")
        await app.updates.broadcast_to_all("maintenance", {}, tenant=tenant)
        await ann.until("maintenance", len(offsets) + 1)
        offsets.append(ann.offset)
        raise TimedOut("too late")

    with monkeypatch.context() as patch:
        patch.setattr(await app.stream(), "caught_up", too_late)
        answers = [await ann.ask("subscribe:job", {"jobId": str(job_id)}) for job_id in (old, new)]
    for job_id in (new, old):
        await app.cancel(job_id, tenant=tenant)
    await until(lambda: "cancelled" in told(ann, old), "it is told")

    assert [True, True] == [answer["retryable"] for answer in answers]
    assert ("-", True, True) == (offsets[0], "~" in offsets[1], "~" in ann.offset)  # what is held back would be left out by it
    assert (["queued", "active", "cancelled"], []) == (told(ann, old), told(ann, new))


async def test_a_job_that_is_gone_is_followed_no_more(app, server, come, tenant):
    """Its retention was over: who asks again is told so, is in its room no more, and does not ask for that room when it comes back."""
    job_id = await app.enqueue("quick", {}, user_id="ann", tenant=tenant, run_at=LATER)
    ann = await come("ann", recovery={"recovery": True})
    await ann.ask("subscribe:job", {"jobId": str(job_id)})
    followed = ann.offset
    for table, name in (("deferred", "job_id"), ("job", "id")):
        await app.store.fetch(f"delete from trunkline.{table} where {name} = $1", job_id)
    answer = await ann.ask("subscribe:job", {"jobId": str(job_id)})
    back = await come("ann", recovery={"recovery": True, "pid": ann.accepted["pid"], "offset": ann.offset})

    assert ("not_found", [f"job:{job_id}"], []) == (answer["code"], *(recovery.taken_apart(said)[1] for said in (followed, ann.offset)))
    assert ann.accepted["pid"] == back.accepted["pid"] and ["queued"] == told(ann, job_id)
    tenant_id = await app.tenant_id(tenant)
    assert {"everyone", "inbox:ann"} == {room for of, room in server.watchers.rooms._members if of == tenant_id}


async def test_both_namespaces_of_one_socket_count_and_are_told_in_their_own_words(app, server, tenant):
    """Health counts a user as it counts a watcher; what waits for one namespace is not replaced by what waits for the other."""
    job_id = await app.enqueue("quick", {}, user_id="ann", tenant=tenant, run_at=LATER)
    heard: list[tuple[str, str, Any]] = []
    client = socketio.AsyncClient(reconnection=False)
    for namespace in ("/", "/jobs"):
        client.on("*", lambda event, data=None, namespace=namespace: heard.append((namespace, event, data)), namespace=namespace)
    address = f"http://127.0.0.1:{server.port}"
    await client.connect(address, namespaces=["/", "/jobs"], auth={"token": token("ann", tenant)}, transports=["websocket"])
    follows = await client.call("subscribe:job", {"jobId": str(job_id)}), await client.call("subscribe:jobs", {}, namespace="/jobs")
    async with httpx.AsyncClient(base_url=address, headers={"Authorization": f"Bearer {token('root', tenant, scope='admin')}"}) as api:

        async def counted() -> bool:
            return (await api.get("/api/health/websocket")).json()["connectedClients"] == 2

        await until(counted, "health counts both")
    await app.updates.emit_job_progress(job_id, 10, tenant=tenant)
    await until(lambda: len(heard) == 4, f"both are told; there is {heard}")
    await client.shutdown()
    event = Event(1, "", "progress", "in_progress", b'{"percentage": 1}', datetime.now(UTC), job_id=job_id)
    keys = {words(event).key for words in (statuses.parcel_of, telling.parcel_of)}

    assert ("ok", True) == (follows[0]["status"], follows[1]["success"]) and 2 == len(keys) and None not in keys
    assert [("/", "authenticated"), ("/", "job:status")] == [said[:2] for said in heard[:2]]
    assert {("/", "job:status"), ("/jobs", "job:progress")} == {said[:2] for said in heard[2:]}


async def test_a_stock_client_recovers_on_another_gateway(app, url, tenant):
    """What it missed comes once and in order: of the jobs it followed, and what was said to it, but not of its other jobs."""
    ids = [str(await app.enqueue("quick", {}, user_id="ann", tenant=tenant, run_at=LATER)) for _ in range(2)]
    client = None
    try:
        async with Trunkline(settings=Settings.load({}, database_url=url, **GIVEN)) as first:
            made = await first.start_gateway(port=0, mode="development")
            port = made.port
            client = await Node.start("seed-001.mjs", f"http://127.0.0.1:{port}", token("ann", tenant), ids[0], "recovery")
            await client.saw("job:status")
            for session in list(made.socketio["/socket.io"].eio.sockets.values()):
                session.cut()  # no goodbye
            await first.stop_gateway(0.0)
        await client.saw("disconnect")
        await app.updates.emit_job_progress(ids[1], 10, tenant=tenant)
        await app.updates.emit_to_user("ann", "notification", {"n": 1}, tenant=tenant)
        await app.updates.emit_to_user("bob", "notification", {"n": 2}, tenant=tenant)
        for percent in (20, 30):
            await app.updates.emit_job_progress(ids[0], percent, tenant=tenant)
        async with Trunkline(settings=Settings.load({}, database_url=url, **GIVEN)) as second:
            await second.start_gateway(port=port, mode="development")
            await client.saw("connect", 2)
            await app.cancel(ids[0], tenant=tenant)
            await client.saw("job:status", 4)
            await second.stop_gateway(0.0)
    finally:
        if client is not None:
            await client.stop()
    statuses = client.seen("job:status")

    assert [False, True] == client.seen("connect")[:2] and [{"userId": "ann"}] * 2 == client.seen("authenticated")
    assert ["queued", "active", "active", "cancelled"] == [each["status"] for each in statuses]
    assert {ids[0]} == {each["jobId"] for each in statuses} and [{"n": 1}] == client.seen("notification")
    assert [20, 30] == [each["progress"]["percentage"] for each in statuses if "progress" in each]


async def test_what_was_followed_is_looked_at_again_when_somebody_comes_back(app, server, come, tenant):
    """Offsets that are forged, of somebody else, or of the other dialect recover nothing; a good one does, also without a job."""
    job_id = str(await app.enqueue("quick", {}, user_id="bob", tenant=tenant, run_at=LATER))
    bob = await come("bob", recovery={"recovery": True})
    await bob.ask("subscribe:job", {"jobId": job_id})
    good = bob.offset
    offset, _, follows = good.partition("~")
    wide = await come("bob", recovery={"recovery": True})
    rooms = [f"user:{tenant}", "all-jobs", "job:x", "inbox:bob", f"inbox:{tenant}", "everyone", f"job:{job_id}/x"]
    forged = ["-", "", good + "x", f"{offset}~{follows[:-4]}", *(f"{offset}~{recovery.packed([room])}" for room in rooms)]
    pids = [(await come("bob", recovery={"recovery": True, "pid": "mine", "offset": said})).accepted["pid"] for said in forged]
    stranger = await come("ann", recovery={"recovery": True, "pid": "mine", "offset": good})
    back = await come("bob", recovery={"recovery": True, "pid": "mine", "offset": good})
    empty = await come("bob", recovery={"recovery": True, "pid": "mine", "offset": wide.offset})

    assert "mine" not in [*pids, stranger.accepted["pid"]]
    assert "mine" == back.accepted["pid"] == empty.accepted["pid"]
    assert (["queued"], []) == (told(bob, job_id), told(back, job_id))
