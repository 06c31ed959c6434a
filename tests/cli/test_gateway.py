"""`trunkline gateway`: opened, reached, stopped, killed."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import psutil
import pytest
from websockets.sync.client import ClientConnection, connect

from tests.cli.conftest import Cli, Start
from tests.cli.program import Program
from tests.support.until import until_now


def ready(program: Program) -> int:
    """The port it listens on."""
    program.until('"ready"')
    return int(json.loads(program.said.splitlines()[0])["port"])


class Caller:
    """A client that does one thing at a time."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.passed_over: list[dict[str, Any]] = []  # a job may be handed out before the call that sent it is answered
        self.ready = self.until("client_ready")

    def until(self, kind: str) -> Any:
        """The data of the first message of a type that was not asked for before; others wait for their turn."""
        for message in self.passed_over:
            if message["type"] == kind:
                self.passed_over.remove(message)
                return message["data"]
        while (message := json.loads(self.socket.recv(30)))["type"] != kind:
            self.passed_over.append(message)
        return message["data"]

    def ask(self, call: str, /, **fields: Any) -> Any:
        """The answer to a call."""
        self.socket.send(json.dumps({"id": 1, "type": call, "data": fields}))
        return self.until("reply")


@pytest.fixture
def call(token: str) -> Iterator[Callable[[int], Caller]]:
    """Connect to the gateway on a port."""
    with ExitStack() as open_sockets:
        header = {"Authorization": f"Bearer {token}"}
        yield lambda port: Caller(open_sockets.enter_context(connect(f"ws://127.0.0.1:{port}/ws/raw", additional_headers=header)))


@pytest.fixture
async def token(cli: Cli) -> str:
    """Of the default tenant."""
    return str((await cli("tokens", "create", "--json")).json["token"])


async def test_it_opens_a_port_and_closes_it_when_asked(start: Start, call: Callable[[int], Caller]):
    """What a worker holds is handed back; the worker is told to come back."""
    program = start("gateway", "--port", "0", "--json")
    caller = call(ready(program))
    caller.ask("register_worker", jobName="work")
    job_id = caller.ask("send_job", name="work", data={})["jobId"]
    assert job_id == caller.until("work_request")["id"]
    program.signal(signal.SIGTERM)

    assert "the gateway is shutting down" == caller.until("error")
    assert 0 == program.end() and '"handedBack":1' in program.said


async def test_jobs_of_a_gateway_that_was_killed_are_offered_again_by_another(start: Start, call: Callable[[int], Caller]):
    """Within ten seconds, as those of any worker process."""
    first, second = start("gateway", "--port", "0", "--json"), start("gateway", "--port", "0", "--json")
    worker, other = call(ready(first)), call(ready(second))
    worker.ask("register_worker", jobName="work")
    job_id = worker.ask("send_job", name="work", data={})["jobId"]
    worker.until("work_request")
    worker.ask("job_started", jobName="work", jobId=job_id)
    other.ask("register_worker", jobName="work")
    first.process.kill()
    request = other.until("work_request")

    assert (job_id, 2) == (request["id"], request["attempt"])
    assert "ok" == other.ask("job_completed", jobName="work", jobId=job_id)["status"]


async def test_production_does_not_start_while_the_test_token_is_live(cli: Cli, start: Start):
    """Everybody knows it."""
    await cli("tokens", "import", "test-customer-token-123", "--tenant", "customer-001")
    program = start("gateway", "--port", "0")

    assert 1 == program.end() and "trunkline tokens deactivate" in program.complained and "Traceback" not in program.complained


def processes(program: Program) -> list[psutil.Process]:
    """The gateways that a program keeps, without those that are just ending."""
    return [each for each in psutil.Process(program.process.pid).children() if "gateway" in each.cmdline()]


async def test_several_processes_share_a_port_and_end_together(start: Start, call: Callable[[int], Caller]):
    """What comes to one is worked on at another; polling has no place there."""
    program = start("gateway", "--port", "0", "--workers", "2", "--json")
    port = ready(program)
    callers = [call(port) for _ in range(8)]
    assert 2 == len({caller.ready["id"].partition(".")[0] for caller in callers})
    callers[0].ask("register_worker", jobName="work")
    for caller in callers:
        caller.ask("send_job", name="work", data={})
    assert callers[0].until("work_request")
    with pytest.raises(HTTPError, match="400"):
        urlopen(f"http://127.0.0.1:{port}/ws/?EIO=4&transport=polling")
    with urlopen(f"http://127.0.0.1:{port}/api/asyncapi.json") as served:
        assert ("3.0.0", "application/json") == (json.load(served)["asyncapi"], served.headers["content-type"])
        known = Request(served.url, headers={"If-None-Match": f'"other", W/{served.headers["etag"]}'})
    with pytest.raises(HTTPError, match="304"):
        urlopen(known)
    first, second = processes(program)
    program.signal(signal.SIGTERM)

    assert 0 == program.end() and '"event":"stopped"' in program.said
    assert not first.is_running() and not second.is_running()


async def test_processes_of_a_gateway_that_was_killed_end_by_themselves(start: Start):
    """Nobody would stop them."""
    program = start("gateway", "--port", "0", "--workers", "2", "--json")
    ready(program)
    orphans = processes(program)
    program.process.kill()

    until_now(lambda: not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in orphans), "they have ended")
