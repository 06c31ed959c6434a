"""A remote worker in a process of its own, as another language would write it: `python -m tests.support.remote_process`.

A plain WebSocket and JSON. It journals `up`, `started` and `done` of each attempt, and `acked` for each report that was answered; it
comes back to any of its gateways with `resume` and reports what ended meanwhile. It dies with its parent.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus, WebSocketException

from tests.support.journal import Journal
from tests.support.worker_process import end_with_the_parent

PAUSE_S = 0.1


class Remote:
    """One worker, whatever its connection is at the moment."""

    def __init__(self, journal: Journal, token: str, name: str, capacity: int) -> None:
        self.journal, self.token, self.name, self.capacity = journal, token, name, capacity
        self.socket: ClientConnection | None = None
        self.resume: str | None = None
        self.ids = itertools.count(1)
        self.asked: dict[int, tuple[str, int]] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self.connected = asyncio.Event()

    async def run(self, ports: list[int]) -> None:
        """For ever, on one gateway after another."""
        for port in itertools.cycle(ports):
            resume = f"&resume={self.resume}" if self.resume else ""
            headers = {"Authorization": f"Bearer {self.token}"}
            try:
                async with connect(f"ws://127.0.0.1:{port}/ws/raw?events=false{resume}", additional_headers=headers) as self.socket:
                    async for frame in self.socket:
                        read = json.loads(frame)
                        for message in read if isinstance(read, list) else [read]:
                            await self.hear(message["type"], message["data"], message.get("id"))
            except (OSError, WebSocketException, InvalidStatus, TimeoutError):
                pass
            self.connected.clear()
            await asyncio.sleep(PAUSE_S)

    async def hear(self, kind: str, data: dict[str, Any], number: int | None) -> None:
        """One message of the gateway."""
        if kind == "client_ready":
            self.resume = data["id"]
            options = {"teamSize": self.capacity, "teamConcurrency": 1}
            await self.say("register_worker", {"jobName": self.name, "options": options}, None)
            self.connected.set()
        elif kind == "work_request":
            self.journal.note("started", data["id"], data["attempt"])
            task = asyncio.create_task(self.work(data))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        elif kind == "reply" and number in self.asked:
            job_id, attempt = self.asked.pop(number)
            self.journal.note("acked", job_id, attempt, what="completed" if data["status"] == "ok" else data["code"].removeprefix("lease_"))

    async def work(self, data: dict[str, Any]) -> None:
        """Run a job, and report it on whatever connection there is then."""
        job = {"jobName": data["name"], "jobId": data["id"], "attempt": data["attempt"]}
        await self.say("job_started", job, None)
        await self.say("job_progress", {**job, "progress": 50}, None)
        await asyncio.sleep(data["data"].get("seconds", 0))
        self.journal.note("done", data["id"], data["attempt"], ending="completed")
        await self.connected.wait()
        await self.say("job_completed", {**job, "result": data["attempt"]}, (data["id"], data["attempt"]))

    async def say(self, kind: str, data: dict[str, Any], asked: tuple[str, int] | None) -> None:
        """One call; what cannot be said now is not: the attempt ends without it."""
        message: dict[str, Any] = {"type": kind, "data": data}
        if asked is not None:
            message["id"] = next(self.ids)
            self.asked[message["id"]] = asked
        try:
            assert self.socket is not None
            await self.socket.send(json.dumps(message))
        except WebSocketException:
            pass


def main() -> None:
    """Parse, die with the parent, work."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True, help="not used: a remote worker has no database")
    parser.add_argument("--journal", required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--ports", required=True)
    parser.add_argument("--token", required=True)
    parser.add_argument("--capacity", type=int, default=5)
    given = parser.parse_args()
    end_with_the_parent()
    journal = Journal(given.journal, given.name)
    journal.note("up", session=0, pid=os.getpid())
    remote = Remote(journal, given.token, "resize", given.capacity)
    asyncio.run(remote.run([int(port) for port in given.ports.split(",")]))


if __name__ == "__main__":
    main()
