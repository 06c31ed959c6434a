"""`trunkline serve --workers N`: several processes on one port, as real processes: answering, killed, stopped."""

from __future__ import annotations

import json
import re
import signal
import socket
from urllib.request import Request, urlopen

import psutil
from websockets.sync.client import connect

from tests.cli.conftest import Cli, Start
from tests.cli.program import Program
from tests.support.until import until_now


def children(program: Program) -> set[int]:
    """The ids of the processes that serve, without those that are just ending."""
    found = psutil.Process(program.process.pid).children()
    return {each.pid for each in found if each.status() != psutil.STATUS_ZOMBIE and "serve" in each.cmdline()}


def who_answers(port: int, token: str) -> str:
    """The session of the process that a new connection comes to."""
    with connect(f"ws://127.0.0.1:{port}/ws/raw", additional_headers={"Authorization": f"Bearer {token}"}) as opened:
        return str(json.loads(opened.recv(30))["data"]["id"].partition(".")[0])


def both(port: int, token: str) -> set[str]:
    """Both of them, once both have answered."""
    seen: set[str] = set()
    until_now(lambda: seen.add(who_answers(port, token)) or len(seen) == 2, "both processes answer")
    return seen


async def test_two_processes_answer_on_one_port_and_one_that_is_killed_is_replaced(cli: Cli, start: Start):
    """While it is away the other one answers; Ctrl-C ends them all, and nothing is left behind."""
    token = (await cli("tokens", "create", "--scope", "admin", "--json")).json["token"]
    program = start("serve", "--port", "0", "--workers", "2")
    port = int(re.search(r"2 gateways on .*http://127\.0\.0\.1:(\d+)/api ", program.until("/ws/raw"))[1])
    before, pids = both(port, token), children(program)

    def ask(path: str, body: object = None) -> object:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        with urlopen(Request(f"http://127.0.0.1:{port}{path}", data, headers), timeout=30) as answer:
            return json.load(answer)

    job = ask("/api/jobs", {"type": "greet"})
    assert {"queued"} == {ask(f"/api/jobs/{job['id']}")["status"] for _ in range(8)}  # whichever answers
    victim = psutil.Process(min(pids))
    victim.kill()
    victim.wait(30)  # what it had not accepted yet is reset, until it is gone
    assert {"queued"} == {ask(f"/api/jobs/{job['id']}")["status"] for _ in range(8)}
    until_now(lambda: len(children(program)) == 2, "it is replaced")
    after = both(port, token)
    family = children(program)
    program.signal(signal.SIGINT)

    assert 0 == program.end() and "Stopped: 0 handed back." in program.said, program.complained
    assert 2 == len(pids) and 1 == len(before & after) and 1 == len(pids & family)
    assert [] == [pid for pid in family if psutil.pid_exists(pid)]
    with socket.create_server(("127.0.0.1", port)):
        pass  # the port is free again


def test_what_several_processes_cannot_share_is_said_at_once(start: Start):
    """A port that somebody has; a metrics port, which is one process's. None of them is left running."""
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        taken = start("serve", "--port", str(port), "--workers", "2")
        measured = start("serve", "--port", "0", "--workers", "2", "--metrics-port", "0")
        assert (1, 1) == (taken.end(), measured.end())

    assert f"cannot share 127.0.0.1 port {port} between processes: " in taken.complained and "Traceback" not in taken.complained
    assert "--metrics-port is for one process" in measured.complained
