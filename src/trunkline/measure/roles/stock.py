"""What people would otherwise run: a python-socketio server as its documentation shows it."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

import socketio
import uvicorn

from trunkline.measure.child import Parent
from trunkline.measure.roles.listeners import MARKER

ROOM = "room"


async def stock(parent: Parent, url: str) -> None:
    """One room; `emit:N:BYTES` sends N events of so many bytes to it. Needs no database."""
    server: Any = socketio.AsyncServer(async_mode="asgi")

    async def join(sid: str, _: object) -> str:
        await server.enter_room(sid, ROOM)
        return "ok"

    async def echo(_: str, data: object) -> object:
        return data

    server.on("join", join)
    server.on("echo", echo)
    bound = socket.create_server(("127.0.0.1", 0), backlog=2048)
    config = uvicorn.Config(socketio.ASGIApp(server), log_config=None, access_log=False, lifespan="off", ws_per_message_deflate=False)
    serving = uvicorn.Server(config)
    task = asyncio.create_task(serving.serve(sockets=[bound]))
    while not serving.started:  # noqa: ASYNC110 - uvicorn tells nobody
        await asyncio.sleep(0.01)
    parent.say("ready", port=bound.getsockname()[1])
    while (order := await parent.order()) != "stop":
        word, *numbers = order.split(":")
        if word == "emit":
            events, size = map(int, numbers)
            began = time.monotonic()
            for n in range(events):
                await server.emit("job:update", event_of(n, size), room=ROOM)
            parent.say("emitted", began=began)
        else:
            parent.say("cpu", cpu_s=time.process_time())
    serving.should_exit = serving.force_exit = True
    await task
    parent.say("done")


def event_of(n: int, size: int) -> dict[str, Any]:
    """An event of about `size` bytes as JSON, with the marker once."""
    head = {"jobId": f"0197f000-0000-7000-8000-{n:012d}", "status": MARKER.decode()}
    return head | {"data": "x" * max(size - 80, 0)}
