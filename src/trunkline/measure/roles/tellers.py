"""The two ends of an event: a process that says it in the database, and a Socket.IO client of a gateway that hears it."""

from __future__ import annotations

import asyncio
import time

import msgspec
from websockets.asyncio.client import connect

from trunkline.measure.child import Parent
from trunkline.measure.roles.workers import KIND, application

JOBS = 100  # that are spoken about in turn
AT_ONCE = 50  # calls under way
_decode = msgspec.json.Decoder().decode
_EVENT = '42/jobs,["job:update"'
_SAY_S = 0.02


async def tell(parent: Parent, url: str, *, events: int, rate: float) -> None:
    """Say `events` updates, `rate` a second, each in a transaction of its own and with the time at which it was begun."""
    async with application(url) as app:
        ids = [job.id for job in await app.enqueue_many([app.new_job(KIND) for _ in range(JOBS)])]
        parent.say("ready")
        await parent.expect("go")
        room, began = asyncio.Semaphore(AT_ONCE), time.monotonic()

        async def say(n: int) -> None:
            async with room:
                await app.updates.emit_job_update(ids[n % JOBS], "measured", {"at": time.monotonic()})

        async with asyncio.TaskGroup() as group:
            for n in range(events):
                if (early := began + n / rate - time.monotonic()) > 0:
                    await asyncio.sleep(early)
                group.create_task(say(n))
        parent.say("told", seconds=time.monotonic() - began)
        await parent.expect("stop")
    parent.say("done")


async def hear(parent: Parent, url: str, *, port: int, events: int) -> None:
    """Follow all jobs, and say how many milliseconds after its beginning each event came in."""
    async with connect(f"ws://127.0.0.1:{port}/socket.io/?EIO=4&transport=websocket", compression=None, max_size=None) as socket:
        await socket.recv()  # open
        await socket.send("40/jobs,{}")
        await socket.recv()
        await socket.send('42/jobs,1["subscribe:jobs",{}]')
        while not str(await socket.recv()).startswith("43/jobs,1"):
            pass
        parent.say("ready")
        ms: list[float] = []
        said = 0.0
        while len(ms) < events:
            frame = str(await socket.recv())
            now = time.monotonic()
            if frame == "2":
                await socket.send("3")
            elif frame.startswith(_EVENT):
                told = _decode(frame[8:])[1]
                if told["status"] == "measured":
                    ms.append((now - told["data"]["at"]) * 1e3)
            if now - said > _SAY_S:
                said = now
                parent.say("seen", at=now, handled=len(ms), recorded=0)
        parent.say("heard", ms=ms)
        await parent.expect("stop")
    parent.say("done")
