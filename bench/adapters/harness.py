"""The command interface of every Python peer: one command a process, JSON lines on stdout, orders on stdin.

Always true: a process ends when its command is done, when stdin closes (its parent is gone), or when
BENCH_DEADLINE_S has passed, whichever comes first. `bench/node/harness.mjs` answers the same commands,
and its header lists them.
Called by: bench/adapter.py. Calls: the peer object a script hands to `main`.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import platform
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, Protocol

import uvloop

WARM_UP_SAMPLES = 10
SAMPLE_TIMEOUT_S = 10
TICK_S = 0.01  # how late the orchestrator may learn of a handled job

Handled = Callable[[int], None]


class Producer(Protocol):
    """One connection that puts jobs into the queue."""

    async def bulk(self, ns: list[int]) -> object:
        """Enqueue these jobs with the peer's call for many jobs."""

    async def single(self, n: int) -> object:
        """Enqueue one job; its commit has been acknowledged on return."""

    async def close(self) -> None:
        """Give the connection back."""


class Worker(Protocol):
    """One connected worker that has not asked for a job yet."""

    async def start(self) -> None:
        """Begin to take jobs, in the background."""

    async def stop(self) -> None:
        """Finish what is running, record it and disconnect."""


class Peer(Protocol):
    """What one script says about its queue."""

    version: str
    settings: Mapping[str, object]
    batch: int

    async def setup(self) -> None:
        """Make the peer's tables in an empty database."""

    async def producer(self) -> Producer:
        """Connect a producer."""

    async def worker(self, handled: Handled) -> Worker:
        """Connect a worker whose handler calls `handled` with the job's number and does nothing else."""


def emit(event: str, **fields: Any) -> None:
    """Tell the orchestrator."""
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


class Tally:
    """Counts handled jobs and remembers which ones, one bit a job, so a job that ran twice or never is seen."""

    def __init__(self, jobs: int) -> None:
        self.count = 0
        self.distinct = 0
        self.last: float | None = None
        self._bits = bytearray(max(1024, (jobs >> 3) + 1))

    def add(self, n: int) -> None:
        """Record that job `n` was handled now."""
        self.last = time.time()
        self.count += 1
        byte, mask = n >> 3, 1 << (n & 7)
        if byte >= len(self._bits):
            self._bits.extend(bytes(max(byte + 1, len(self._bits) * 2) - len(self._bits)))
        if not self._bits[byte] & mask:
            self.distinct += 1
            self._bits[byte] |= mask

    def summary(self) -> dict[str, Any]:
        """The whole tally, ready for `emit`."""
        return {
            "count": self.count,
            "distinct": self.distinct,
            "last": self.last,
            "seen": base64.b64encode(self._bits).decode(),
        }


class Orders:
    """Lines on stdin. Closing stdin ends the process: nobody is left to read the answer."""

    def __init__(self) -> None:
        self.handled = 0  # the latest "done K"
        self._words: asyncio.Queue[str] = asyncio.Queue()
        self._reading: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Start to read stdin."""
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        self._reading = asyncio.create_task(self._read(reader))

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            word, *number = line.decode().split()
            if word == "done":
                self.handled = int(number[0])
            else:
                self._words.put_nowait(word)
        os._exit(3)  # nothing that runs here is worth a clean end once the parent is gone

    async def expect(self, wanted: str) -> None:
        """Wait for this order."""
        word = await self._words.get()
        if word != wanted:
            raise RuntimeError(f'got the order "{word}", need "{wanted}"')


async def _enqueue(peer: Peer, jobs: int, manner: str) -> None:
    producer = await peer.producer()
    started = time.perf_counter()
    if manner == "bulk":
        for n in range(0, jobs, peer.batch):
            await producer.bulk(list(range(n, min(n + peer.batch, jobs))))
    else:
        for n in range(jobs):
            await producer.single(n)
    seconds = time.perf_counter() - started
    await producer.close()
    emit("done", jobs=jobs, seconds=seconds)


async def _work(peer: Peer, jobs: int, orders: Orders) -> None:
    tally = Tally(jobs)
    worker = await peer.worker(tally.add)
    emit("ready")
    await orders.expect("go")
    started = time.time()
    await worker.start()
    stop = asyncio.create_task(orders.expect("stop"))
    told = 0
    while not stop.done():
        if tally.count != told:
            told = tally.count
            emit("seen", count=told, at=time.time())
        await asyncio.wait([stop], timeout=TICK_S)
    await stop
    await worker.stop()
    emit("done", started=started, **tally.summary())


async def _pickup(peer: Peer, samples: int) -> None:
    jobs = WARM_UP_SAMPLES + samples
    tally = Tally(jobs)
    picked: asyncio.Queue[float] = asyncio.Queue()

    def handled(n: int) -> None:
        picked.put_nowait(time.perf_counter())
        tally.add(n)

    worker = await peer.worker(handled)
    producer = await peer.producer()
    await worker.start()
    waits: list[float] = []
    for n in range(jobs):
        await asyncio.sleep(random.uniform(0.02, 0.06))  # the worker is idle again, and not in step with any timer
        asked = time.perf_counter()
        await producer.single(n)
        at = await asyncio.wait_for(picked.get(), SAMPLE_TIMEOUT_S)
        if n >= WARM_UP_SAMPLES:
            waits.append((at - asked) * 1000)
    await producer.close()
    await worker.stop()
    emit("done", waits_ms=waits, is_exactly_once=tally.count == tally.distinct == jobs)


async def _sustained(peer: Peer, seconds: float, lead: int, orders: Orders) -> None:
    producer = await peer.producer()
    emit("ready")
    await orders.expect("go")
    jobs = 0
    batch = min(peer.batch, lead // 4)  # smaller than the lead, or the worker would run dry between two batches
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        if jobs + batch - orders.handled > lead:
            await asyncio.sleep(0.001)
        else:
            await producer.bulk(list(range(jobs, jobs + batch)))
            jobs += batch
    await producer.close()
    emit("done", jobs=jobs)


async def _answer(peer: Peer, command: str, args: Iterable[str]) -> None:
    orders = Orders()
    await orders.open()
    runtime = f"python {platform.python_version()}"
    emit("about", version=peer.version, runtime=runtime, settings=dict(peer.settings))
    match command, *args:
        case ["setup"]:
            await peer.setup()
            emit("done")
        case ["enqueue", jobs, ("bulk" | "single") as manner]:
            await _enqueue(peer, int(jobs), manner)
        case ["work", jobs]:
            await _work(peer, int(jobs), orders)
        case ["pickup", samples]:
            await _pickup(peer, int(samples))
        case ["sustained", seconds, lead]:
            await _sustained(peer, float(seconds), int(lead), orders)
        case other:
            raise SystemExit(f"no command {other}; one of setup, enqueue, work, pickup, sustained")


def in_background(work: Coroutine[Any, Any, object]) -> asyncio.Task[object]:
    """Run the peer's worker loop; should it fail, the process ends and says why instead of waiting for jobs."""
    task = asyncio.create_task(work)
    task.add_done_callback(_end_on_failure)
    return task


def _end_on_failure(task: asyncio.Task[object]) -> None:
    if not task.cancelled() and (error := task.exception()):
        traceback.print_exception(error)
        sys.stderr.flush()
        os._exit(1)


def main(peer: Peer) -> None:
    """Run the one command in argv, under uvloop: pgqueuer's own choice, and no slower for procrastinate."""
    signal.alarm(int(os.environ.get("BENCH_DEADLINE_S", "600")))
    command, *args = sys.argv[1:] or ["nothing"]
    uvloop.run(_answer(peer, command, args))
