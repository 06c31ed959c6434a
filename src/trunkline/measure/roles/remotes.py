"""A client of the gateway in a process of its own, as fast a one as Python has: it calls, sends, works and waits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from trunkline.measure.child import Parent
from trunkline.measure.roles.wires import AT_ONCE, Asked, Said, Wire, entered
from trunkline.measure.roles.workers import KIND
from trunkline.measure.tally import Tally

UNANSWERED = 250  # calls under way at once: fewer than a Socket.IO client may have
CAPACITY = 2000  # jobs in hand at once
PAUSE_S = 0.15  # between two samples of an idle gateway
_SAY_S = 0.02
_REGISTERED, _DONE, _SENT = -1, -2, -3  # ids of answers that are not counted one by one


async def remote(parent: Parent, url: str, *, port: int, path: str, token: str, jobs: int, samples: int) -> None:
    """Call, send, work and wait, each after its own `go`. The database is the gateway's affair: `url` is not used."""
    wire, socket = await entered(port, path, token)
    async with socket:
        parent.say("ready")
        await parent.expect("go")
        parent.say("called", seconds=await called(wire, "get_queue_size", [{"jobName": KIND, "before": "failed"}] * jobs))
        await parent.expect("go")
        parent.say("sent", seconds=await called(wire, "send_job", [{"name": KIND, "data": {"n": n}} for n in range(jobs)]))
        await parent.expect("go")
        tally = Tally(jobs + samples)
        parent.say("worked", seconds=await _worked(parent, wire, jobs, tally))
        await parent.expect("go")
        parent.say("waited", ms=[await _waited(wire, jobs + n, tally) for n in range(samples)])
        await parent.expect("stop")
    parent.say("done", **tally.summary())


async def caller(parent: Parent, url: str, *, port: int, calls: int) -> None:
    """The same calls to a stock server, which sends back what it is sent."""
    wire, socket = await entered(port, "/socket.io", "")
    async with socket:
        parent.say("ready")
        await parent.expect("go")
        parent.say("called", seconds=await called(wire, "echo", [{"status": "ok", "jobName": KIND, "before": "failed"}] * calls))
        await parent.expect("stop")
    parent.say("done")


async def called(wire: Wire, name: str, calls: Sequence[dict[str, Any]]) -> float:
    """Seconds until each was answered `ok`; at most UNANSWERED are under way."""
    began, sent, answered = time.monotonic(), 0, 0
    while answered < len(calls):
        if sent < len(calls) and sent - answered <= UNANSWERED // 2:
            some = [Asked(name, data, sent + n) for n, data in enumerate(calls[sent : sent + UNANSWERED // 2])]
            await wire.send(some)
            sent += len(some)
        for said in await wire.read():
            _ok(said)
            answered += 1
    return time.monotonic() - began


def _ok(said: Said) -> None:
    if said.type != "reply" or said.data["status"] != "ok":
        raise RuntimeError(f"not an answer, or not a good one: {said}")


async def _worked(parent: Parent, wire: Wire, jobs: int, tally: Tally) -> float:
    """Seconds from `register_worker` until the last report was answered."""
    began, told, done = time.monotonic(), 0.0, 0
    options = {"teamSize": 1000, "teamConcurrency": CAPACITY // 1000}
    register = Asked("register_worker", {"jobName": KIND, "options": options}, _number(_REGISTERED))
    await wire.send([register, register])  # two messages: a client that sends arrays is sent arrays
    while done < jobs:
        reports: list[Asked] = []
        for said in await wire.read():
            if said.type == "work_request":
                reports += _reports(said.data, tally)
            else:
                _ok(said)
                done += said.id == _number(_DONE)
        for start in range(0, len(reports), AT_ONCE):
            await wire.send(reports[start : start + AT_ONCE])
        if time.monotonic() - told > _SAY_S:
            told = time.monotonic()
            parent.say("seen", at=told, handled=tally.count, recorded=done)
    return time.monotonic() - began


def _number(which: int) -> int:
    return 1_000_000_000 - which


def _reports(request: dict[str, Any], tally: Tally) -> list[Asked]:
    tally.add(request["data"]["n"])
    fence = {"jobName": KIND, "jobId": request["id"], "attempt": request["attempt"]}
    return [Asked("job_started", fence), Asked("job_completed", {**fence, "result": None}, _number(_DONE))]


async def _waited(wire: Wire, n: int, tally: Tally) -> float:
    """Milliseconds from `send_job` on an idle gateway until the report of that job was answered."""
    until = time.monotonic() + PAUSE_S
    while (left := until - time.monotonic()) > 0:  # pings are answered meanwhile
        try:
            async with asyncio.timeout(left):
                await wire.read()
        except TimeoutError:
            break
    began = time.monotonic()
    await wire.send([Asked("send_job", {"name": KIND, "data": {"n": n}}, _number(_SENT))])
    while True:
        for said in await wire.read():
            if said.type == "work_request":
                await wire.send(_reports(said.data, tally))
            else:
                _ok(said)
                if said.id == _number(_DONE):
                    return (time.monotonic() - began) * 1e3
