"""A client of the gateway in a process of its own, over the plain WebSocket, with many messages a frame: as fast a one as Python has."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
from websockets.asyncio.client import ClientConnection, connect

from trunkline.measure.child import Parent
from trunkline.measure.roles.workers import KIND
from trunkline.measure.tally import Tally

AT_ONCE = 250  # messages of one frame; 256 are allowed
UNANSWERED = 2000  # calls under way at once
CAPACITY = 2000  # jobs in hand at once
PAUSE_S = 0.15  # between two samples of an idle gateway
_SAY_S = 0.02
_decode = msgspec.json.Decoder().decode


async def remote(parent: Parent, url: str, *, port: int, token: str, jobs: int, samples: int) -> None:
    """Call, send, work and wait, each after its own `go`. The database is the gateway's affair: `url` is not used."""
    headers = {"Authorization": f"Bearer {token}"}
    async with connect(f"ws://127.0.0.1:{port}/ws/raw?events=false", additional_headers=headers, compression=None, max_size=None) as socket:
        await socket.recv()  # client_ready
        parent.say("ready")
        await parent.expect("go")
        parent.say("called", seconds=await _called(socket, [_call("get_queue_size", {"jobName": KIND, "before": "failed"})] * jobs))
        await parent.expect("go")
        sends = [_call("send_job", {"name": KIND, "data": {"n": n}}) for n in range(jobs)]
        parent.say("sent", seconds=await _called(socket, sends))
        await parent.expect("go")
        tally = Tally(jobs + samples)
        parent.say("worked", seconds=await _worked(parent, socket, jobs, tally))
        await parent.expect("go")
        parent.say("waited", ms=[await _waited(socket, jobs + n, tally) for n in range(samples)])
        await parent.expect("stop")
    parent.say("done", **tally.summary())


def _call(name: str, data: dict[str, Any]) -> dict[str, Any]:
    return {"type": name, "data": data}


async def _messages(socket: ClientConnection) -> AsyncIterator[dict[str, Any]]:
    async for frame in socket:
        read = _decode(frame)
        for message in read if isinstance(read, list) else (read,):
            yield message


async def _send(socket: ClientConnection, messages: Sequence[dict[str, Any]]) -> None:
    await socket.send(msgspec.json.encode(messages).decode())


async def _called(socket: ClientConnection, calls: Sequence[dict[str, Any]]) -> float:
    """Seconds until each was answered `ok`; at most UNANSWERED are under way."""
    began, sent, answered = time.monotonic(), 0, 0
    messages = _messages(socket)
    while answered < len(calls):
        while sent < len(calls) and sent - answered <= UNANSWERED - AT_ONCE:
            some = [{"id": sent + n, **call} for n, call in enumerate(calls[sent : sent + AT_ONCE])]
            await _send(socket, some)
            sent += len(some)
        _ok(await anext(messages))
        answered += 1
    return time.monotonic() - began


def _ok(message: dict[str, Any]) -> None:
    if message["type"] != "reply" or message["data"]["status"] != "ok":
        raise RuntimeError(f"not an answer, or not a good one: {message}")


async def _worked(parent: Parent, socket: ClientConnection, jobs: int, tally: Tally) -> float:
    """Seconds from `register_worker` until the last report was answered."""
    began, said, done, reports = time.monotonic(), 0.0, 0, list[dict[str, Any]]()
    options = {"teamSize": 1000, "teamConcurrency": CAPACITY // 1000}
    # Two messages: a client that sends arrays is sent arrays.
    await _send(socket, [{"id": "r", **_call("register_worker", {"jobName": KIND, "options": options})}] * 2)
    async for frame in socket:
        read = _decode(frame)
        for message in read if isinstance(read, list) else (read,):
            if message["type"] == "work_request":
                reports += _reports(message["data"], tally)
            else:
                _ok(message)
                done += message["id"] == "c"
        while reports:
            await _send(socket, reports[:AT_ONCE])
            reports = reports[AT_ONCE:]
        if time.monotonic() - said > _SAY_S:
            said = time.monotonic()
            parent.say("seen", at=said, handled=tally.count, recorded=done)
        if done == jobs:
            break
    return time.monotonic() - began


def _reports(request: dict[str, Any], tally: Tally) -> list[dict[str, Any]]:
    tally.add(request["data"]["n"])
    fence = {"jobName": KIND, "jobId": request["id"], "attempt": request["attempt"]}
    return [_call("job_started", fence), {"id": "c", **_call("job_completed", {**fence, "result": None})}]


async def _waited(socket: ClientConnection, n: int, tally: Tally) -> float:
    """Milliseconds from `send_job` on an idle gateway until the report of that job was answered."""
    await asyncio.sleep(PAUSE_S)
    began = time.monotonic()
    await _send(socket, [{"id": "s", **_call("send_job", {"name": KIND, "data": {"n": n}})}])
    async for message in _messages(socket):
        if message["type"] == "work_request":
            await _send(socket, _reports(message["data"], tally))
        else:
            _ok(message)
            if message["id"] == "c":
                break
    return (time.monotonic() - began) * 1e3
