"""What one gateway process does for one remote program, over the plain WebSocket with many messages a frame, and over Socket.IO.

- `gateway_calls`, `socketio_calls`: calls with an answer, a second (`get_queue_size` as counted lately: read, checked, authorized,
  answered); floor of the latter: a stock python-socketio server that sends back what it is sent.
- `remote_send`: jobs sent and durable, a second.
- `remote_work`, `socketio_work`: whole jobs a second: dispatched, started, reported, recorded, answered; and the gateway's CPU for each.
- `remote_latency`: from `send_job` on an idle gateway until the report of that job is durable and answered, ms.

The gateway, its one client and PostgreSQL share this host. One run over a wire answers all of it.
"""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from trunkline.measure import working
from trunkline.measure.pairs import interleaved
from trunkline.measure.processes import Child, started
from trunkline.measure.result import Floor, Result, Target
from trunkline.measure.run import Run
from trunkline.measure.tally import Tallied

RAW = ("gateway_calls", "remote_send", "remote_work", "remote_latency")
SOCKETIO = ("socketio_calls", "socketio_work")
PAIRS = 3  # each is five seconds of work
_CALLS, _SEND, _WORK = "called", "sent", "worked"


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one run: seconds and gateway CPU seconds of each part, samples in ms."""

    seconds: dict[str, float]
    cpu_s: dict[str, float]
    ms: list[float]


async def raw(run: Run) -> list[Result]:
    """All over the plain WebSocket."""
    jobs = max(run.sizes.jobs // 2, 1)
    runs = [await _figures(run, "/ws/raw", jobs) for _ in range(min(PAIRS, run.sizes.pairs))]
    calls, send, work, latency = RAW
    return [
        _rate(calls, "calls/s", jobs, runs, _CALLS, (Target("value", ">=", 10_000),)),
        _rate(send, "jobs/s", jobs, runs, _SEND, ()),
        _rate(work, "jobs/s", jobs, runs, _WORK, (Target("value", ">=", 10_000), Target("gateway_cpu_us", "<=", 90))),
        _latency(latency, runs),
    ]


async def socketio(run: Run) -> list[Result]:
    """The same over Socket.IO, with fewer jobs: each message is a frame."""
    jobs = max(run.sizes.jobs // 5, 1)
    sides: list[Callable[[], Awaitable[Any]]] = [lambda: _figures(run, "/ws", jobs), lambda: _stock(run, jobs)]
    runs, stock = await interleaved(min(PAIRS, run.sizes.pairs), *sides)
    calls, work = SOCKETIO
    floor = Floor.of(
        "a stock python-socketio server that sends back what it is sent", [jobs / each.seconds[_CALLS] for each in runs], stock
    )
    return [
        _rate(calls, "calls/s", jobs, runs, _CALLS, (Target("ratio", ">=", 1),), floors={"stock": floor}),
        _rate(work, "jobs/s", jobs, runs, _WORK, (Target("value", ">=", 2500), Target("gateway_cpu_us", "<=", 300))),
    ]


async def _figures(run: Run, path: str, jobs: int) -> Figures:
    seconds: dict[str, float] = {}
    cpu_s: dict[str, float] = {}
    samples = max(run.sizes.samples // run.sizes.pairs, 1)
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(run.server.fresh())
        gateway = await stack.enter_async_context(started("gateway", url, run.sizes.deadline_s))
        ready = await gateway.expect("ready")
        port, token = ready["port"], ready["token"]
        client = await stack.enter_async_context(
            started("remote", url, run.sizes.deadline_s, port=port, path=path, token=token, jobs=jobs, samples=samples)
        )
        await client.expect("ready")
        for event in (_CALLS, _SEND, _WORK):
            before = await cpu(gateway)
            client.tell("go")
            seconds[event] = (await working.answered(run, client, event, jobs))["seconds"]
            cpu_s[event] = await cpu(gateway) - before
        client.tell("go")
        ms = (await client.expect("waited"))["ms"]
        client.tell("stop")
        tallied = Tallied.of([await client.expect("done")])
        gateway.tell("stop")
        await gateway.expect("done")
        await working.check(url, jobs + samples, tallied)
    return Figures(seconds, cpu_s, ms)


async def cpu(server: Child) -> float:
    """CPU seconds that a server's process has used so far."""
    server.tell("cpu")
    return float((await server.expect("cpu"))["cpu_s"])


async def _stock(run: Run, calls: int) -> float:
    """Calls a second."""
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(started("stock", "", run.sizes.deadline_s))
        port = (await server.expect("ready"))["port"]
        client = await stack.enter_async_context(started("caller", "", run.sizes.deadline_s, port=port, calls=calls))
        await client.expect("ready")
        client.tell("go")
        seconds = (await working.answered(run, client, _CALLS, calls))["seconds"]
        client.tell("stop")
        await client.expect("done")
        server.tell("stop")
    return calls / float(seconds)


def _rate(
    name: str, unit: str, jobs: int, runs: Sequence[Figures], part: str, targets: tuple[Target, ...], floors: dict[str, Floor] | None = None
) -> Result:
    return Result(
        measure=name,
        value=statistics.median(jobs / each.seconds[part] for each in runs),
        unit=unit,
        n=jobs,
        pairs=len(runs),
        verified=True,
        floors=floors or {},
        targets=targets,
        extra={"gateway_cpu_us": statistics.median(each.cpu_s[part] / jobs * 1e6 for each in runs)},
    )


def _latency(name: str, runs: Sequence[Figures]) -> Result:
    samples = sorted(ms for each in runs for ms in each.ms)
    return Result(
        measure=name,
        value=statistics.median(samples),
        unit="ms",
        n=len(samples),
        pairs=len(runs),
        verified=True,
        targets=(Target("value", "<=", 8),),
        extra={"p90": samples[len(samples) * 9 // 10]},
    )
