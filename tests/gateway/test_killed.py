"""A gateway process is killed with -9: what its clients find on another one."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest

from tests.cli.program import environment
from tests.gateway.conftest import SocketIoClient
from tests.gateway.node import Node
from tests.support.until import until
from trunkline.auth.mode import TEST_TOKEN
from trunkline.realtime import Connected


class Doomed:
    """`trunkline gateway` as a process."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.process, self.port = process, port

    async def kill(self) -> None:
        with suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()


@pytest.fixture
async def doomed(app, trunkline_url) -> AsyncIterator[Doomed]:
    """A gateway that is to be killed."""
    env = environment(TRUNKLINE_DATABASE_URL=trunkline_url, TRUNKLINE_ENV="development")
    command = [sys.executable, "-m", "trunkline.cli", "gateway", "--port", "0", "--json"]
    process = await asyncio.create_subprocess_exec(*command, env=env, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    made = Doomed(process, json.loads(await process.stdout.readline())["port"])
    yield made
    await made.kill()


class Balancer:
    """One address for whichever gateway `port` is."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            theirs, ours = await asyncio.open_connection("127.0.0.1", self.port)
            await asyncio.gather(_pass_on(reader, ours), _pass_on(theirs, writer), return_exceptions=True)
        writer.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


async def test_watchers_recover_on_another_gateway_and_get_what_they_missed_once(app, doomed, server, clock):
    """The stock client; also one that had received nothing yet. They are counted where they are, and no longer where they were."""
    server.presence.every_s = 0.05
    balancer = Balancer(doomed.port)
    front = await asyncio.start_server(balancer.carry, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{front.sockets[0].getsockname()[1]}"
    jobs = [await app.enqueue("a", {}) for _ in range(2)]
    clients = [await Node.start("recovery.mjs", url, json.dumps({"jobId": str(job_id)})) for job_id in jobs]

    async def say(job_id: Any, *words: str) -> None:
        for word in words:
            await app.updates.emit_job_update(job_id, word)

    async def there_are(watchers: int) -> None:
        async def counted() -> bool:
            return await app.updates.connected() == Connected(watchers, 0) and await app.updates.watchers(job_id=jobs[0]) == watchers // 2

        await until(counted, f"{watchers} watchers are counted")

    try:
        for client in clients:
            await client.saw("subscribed")
        await say(jobs[0], "before 1", "before 2")
        await clients[0].saw("job:update", 2)
        await there_are(2)
        balancer.port = server.port
        await doomed.kill()
        await say(jobs[0], "away")
        await say(jobs[1], "first")
        for client in clients:
            await client.saw("connect", 2)
        await say(jobs[0], "new")
        await say(jobs[1], "second")
        await clients[0].saw("job:update", 4)
        await clients[1].saw("job:update", 2)
        await clock.forward(9)  # the dead session's time is over
        await there_are(2)
    finally:
        for client in clients:
            await client.stop()
        front.close()

    assert [[False, True]] * 2 == [client.seen("connect") for client in clients]
    assert [1, 1] == [len(client.seen("subscribed")) for client in clients]
    assert ["before 1", "before 2", "away", "new"] == [update["status"] for update in clients[0].seen("job:update")]
    assert ["first", "second"] == [update["status"] for update in clients[1].seen("job:update")]


async def test_a_worker_goes_on_with_another_gateway_and_its_job_runs_again(app, doomed, server, clock):
    """Nobody knows what the dead one's clients held: the lease is offered again, and a report of the old attempt is refused."""
    before, after = SocketIoClient(["websocket"]), SocketIoClient(["websocket"])
    try:
        await before.open(f"http://127.0.0.1:{doomed.port}", {"customerToken": TEST_TOKEN})
        (ready,) = await before.pushed("client_ready")
        await before.ok("register_worker", jobName="resize")
        job_id = (await before.ok("send_job", name="resize", data={}))["jobId"]
        await before.pushed("work_request")
        await before.ok("job_started", jobName="resize", jobId=job_id)
        await doomed.kill()
        await after.open(f"http://127.0.0.1:{server.port}", {"customerToken": TEST_TOKEN, "resume": ready["id"]})
        await after.pushed("client_ready")
        await after.ok("register_worker", jobName="resize")
        late = await after.ask("job_completed", jobName="resize", jobId=job_id, attempt=1, result="old")
        await clock.forward(9)
        (again,) = await after.pushed("work_request")
        await after.ok("job_completed", jobName="resize", jobId=job_id, attempt=2, result="new")
    finally:
        await before.close()
        await after.close()

    job = await app.get(job_id, tenant="customer-001")
    assert ("lease_lost", job_id, 2) == (late["code"], again["id"], again["attempt"])
    assert ("completed", 2, "new") == (job.state, job.attempt, job.result)
