"""What one job costs, from enqueue to outcome, in counts that hardly drift.

- `wal_per_job`: bytes of WAL over a bulk enqueue and a drain, right after a checkpoint; floor: the raw table, without history.
- `statements_per_job`: statements that reached the server over the same, a worker's start and heartbeat included.
- `server_cpu_us_per_job`: CPU of the worker's backends over the drain; floor: the same claims and acks in a procedure.
- `client_cpu_us_per_job`: CPU of the worker process over the drain; floor: the same claims and acks by the bare driver.

One run answers all four. CPU of the server is left out where its processes cannot be seen (another host, no /proc).
"""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from trunkline.measure import drain, usage, working
from trunkline.measure.pairs import interleaved
from trunkline.measure.processes import started
from trunkline.measure.result import Floor, Result, Target
from trunkline.measure.run import Run

PAIRS = 3  # counts need fewer than times do
WAL, STATEMENTS, SERVER_CPU, CLIENT_CPU = "wal_per_job", "statements_per_job", "server_cpu_us_per_job", "client_cpu_us_per_job"


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one job, in one run: bytes, statements and CPU microseconds; None where it does not apply or cannot be seen."""

    wal: float | None = None
    statements: float | None = None
    server_us: float | None = None
    client_us: float | None = None
    enqueue_server_us: float | None = None
    enqueue_client_us: float | None = None
    counted_by: str | None = None


async def measure(run: Run) -> list[Result]:
    """All four."""
    sides: list[Callable[[], Awaitable[Cost]]] = [
        lambda: _ours(run),
        lambda: _raw_table(run),
        lambda: _in_server(run),
        lambda: _driver(run),
    ]
    ours, raw, in_server, driver = await interleaved(min(PAIRS, run.sizes.pairs), *sides)
    wal = [each.wal for each in ours]
    results = [
        _result(run, WAL, "bytes/job", wal, {"raw_table": (drain.RAW_TABLE, [each.wal for each in raw])}, Target("value", "<=", 1000)),
        _result(run, STATEMENTS, "statements/job", [each.statements for each in ours], {}, None, counted_by=ours[0].counted_by),
        _result(
            run,
            SERVER_CPU,
            "us/job",
            [each.server_us for each in ours],
            {"in_server": (drain.IN_SERVER, [each.server_us for each in in_server])},
            None,
            enqueue_us=_median([each.enqueue_server_us for each in ours]),
        ),
        _result(
            run,
            CLIENT_CPU,
            "us/job",
            [each.client_us for each in ours],
            {"same_sql": (drain.SAME_SQL, [each.client_us for each in driver])},
            None,
            enqueue_us=_median([each.enqueue_client_us for each in ours]),
        ),
    ]
    return [result for result in results if result is not None]


async def _ours(run: Run) -> Cost:
    jobs = run.sizes.jobs
    async with run.server.fresh() as url:
        counted_by = await run.server.count_statements(url)
        await run.server.admin.execute("checkpoint")
        lsn, statements = await run.server.wal_lsn(), await run.server.statements(url)
        async with started("enqueue", url, run.sizes.deadline_s, jobs=jobs, made_before=False) as child:
            await child.expect("ready")
            child.tell("go")
            enqueued = await child.expect("enqueued")
            enqueue_server_s = usage.server_cpu_s(await run.server.backend_pids(url))
            child.tell("stop")
            await child.expect("done")
        drained = await working.drained(run, url, jobs)
        return Cost(
            wal=(await run.server.wal_lsn() - lsn) / jobs,
            statements=(await run.server.statements(url) - statements) / jobs,
            server_us=_us(drained.server_cpu_s, jobs),
            client_us=_us(drained.worker_cpu_s, jobs),
            enqueue_server_us=_us(enqueue_server_s, jobs),
            enqueue_client_us=_us(enqueued["cpu_s"], jobs),
            counted_by=counted_by,
        )


async def _raw_table(run: Run) -> Cost:
    jobs = run.sizes.jobs
    async with run.server.fresh() as url:
        await run.server.admin.execute("checkpoint")
        lsn = await run.server.wal_lsn()
        await drain.raw_backlog(url, jobs)
        await drain.raw_drained(run, url, jobs)
        return Cost(wal=(await run.server.wal_lsn() - lsn) / jobs)


async def _in_server(run: Run) -> Cost:
    async with run.server.fresh() as url:
        await working.backlog(url, run.sizes.jobs)
        return Cost(server_us=_us((await working.drained_in_server(run, url, run.sizes.jobs)).server_cpu_s, run.sizes.jobs))


async def _driver(run: Run) -> Cost:
    async with run.server.fresh() as url:
        await working.backlog(url, run.sizes.jobs)
        return Cost(client_us=_us((await drain.driven(run, url, run.sizes.jobs))[1], run.sizes.jobs))


def _us(seconds: float | None, jobs: int) -> float | None:
    return None if seconds is None else seconds / jobs * 1e6


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _result(
    run: Run,
    name: str,
    unit: str,
    values: Sequence[float | None],
    floors: dict[str, tuple[str, list[float | None]]],
    target: Target | None,
    **extra: object,
) -> Result | None:
    """None where a value could not be seen."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    return Result(
        measure=name,
        value=statistics.median(known),
        unit=unit,
        n=run.sizes.jobs,
        pairs=len(known),
        verified=True,
        floors={key: Floor.of(what, known, [value for value in floor if value is not None]) for key, (what, floor) in floors.items()},
        targets=() if target is None else (target,),
        extra=extra,
    )
