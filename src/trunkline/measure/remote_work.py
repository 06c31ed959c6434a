"""What one gateway process does for remote programs, over the plain WebSocket with many messages a frame.

- `gateway_calls`: calls with an answer, a second (`get_queue_size` as counted lately: read, checked, authorized, answered).
- `remote_send`: jobs sent and durable, a second.
- `remote_work`: whole jobs a second: dispatched, started, reported, recorded, answered; and the gateway's CPU for each.
- `remote_latency`: from `send_job` on an idle gateway until the report of that job is durable and answered, ms.

The gateway, its one client and PostgreSQL share this host. One run answers all four.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from trunkline.measure import working
from trunkline.measure.processes import Child, started
from trunkline.measure.result import Result, Target
from trunkline.measure.run import Run
from trunkline.measure.tally import Tallied

CALLS, SEND, WORK, LATENCY = "gateway_calls", "remote_send", "remote_work", "remote_latency"


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one run: seconds and gateway CPU seconds of each part, samples in ms."""

    seconds: dict[str, float]
    cpu_s: dict[str, float]
    ms: list[float]


async def measure(run: Run) -> list[Result]:
    """All four, each the median of as many runs as there are pairs."""
    jobs = max(run.sizes.jobs // 2, 1)
    runs = [await _figures(run, jobs) for _ in range(run.sizes.pairs)]
    return [
        _rate(run, CALLS, "calls/s", jobs, runs, (Target("value", ">=", 10_000),)),
        _rate(run, SEND, "jobs/s", jobs, runs, ()),
        _rate(run, WORK, "jobs/s", jobs, runs, (Target("value", ">=", 10_000), Target("gateway_cpu_us", "<=", 90))),
        _latency(runs),
    ]


async def _figures(run: Run, jobs: int) -> Figures:
    seconds: dict[str, float] = {}
    cpu_s: dict[str, float] = {}
    samples = max(run.sizes.samples // run.sizes.pairs, 1)
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(run.server.fresh())
        gateway = await stack.enter_async_context(started("gateway", url, run.sizes.deadline_s))
        ready = await gateway.expect("ready")
        client = await stack.enter_async_context(
            started("remote", url, run.sizes.deadline_s, port=ready["port"], token=ready["token"], jobs=jobs, samples=samples)
        )
        await client.expect("ready")
        for name, event in ((CALLS, "called"), (SEND, "sent"), (WORK, "worked")):
            before = await _cpu_s(gateway)
            client.tell("go")
            seconds[name] = (await working.answered(run, client, event, jobs))["seconds"]
            cpu_s[name] = await _cpu_s(gateway) - before
        client.tell("go")
        ms = (await client.expect("waited"))["ms"]
        client.tell("stop")
        tallied = Tallied.of([await client.expect("done")])
        gateway.tell("stop")
        await gateway.expect("done")
        await working.check(url, jobs + samples, tallied)
    return Figures(seconds, cpu_s, ms)


async def _cpu_s(gateway: Child) -> float:
    gateway.tell("cpu")
    return float((await gateway.expect("cpu"))["cpu_s"])


def _rate(run: Run, name: str, unit: str, jobs: int, runs: Sequence[Figures], targets: tuple[Target, ...]) -> Result:
    return Result(
        measure=name,
        value=statistics.median(jobs / each.seconds[name] for each in runs),
        unit=unit,
        n=jobs,
        pairs=len(runs),
        verified=True,
        targets=targets,
        extra={"gateway_cpu_us": statistics.median(each.cpu_s[name] / jobs * 1e6 for each in runs)},
    )


def _latency(runs: Sequence[Figures]) -> Result:
    samples = sorted(ms for each in runs for ms in each.ms)
    return Result(
        measure=LATENCY,
        value=statistics.median(samples),
        unit="ms",
        n=len(samples),
        pairs=len(runs),
        verified=True,
        targets=(Target("value", "<=", 8),),
        extra={"p90": samples[len(samples) * 9 // 10]},
    )
