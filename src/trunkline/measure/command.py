"""`trunkline bench`: flags, the loop over the measures, the exit code.

Always true: stdout holds results and nothing else; the exit code is 0 only if something was measured and everything was
verified. A missed target is told and is no failure: how fast a machine is says nothing about whether the product works.
Mounted by: cli. Also `python -m trunkline.measure`.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Annotated

import asyncpg
import typer

from trunkline.errors import InvalidInput, TrunklineError
from trunkline.measure import catalogue, usage
from trunkline.measure.catalogue import Measure
from trunkline.measure.child import run as run_loop
from trunkline.measure.report import Report
from trunkline.measure.run import JOBS, PAIRS, SECONDS, MeasureFailed, Run, Sizes
from trunkline.measure.server import Server, embedded, opened
from trunkline.observe import logs
from trunkline.settings import mask_url

LARGE_SECONDS = 300.0
INTERRUPTED = 130


def bench(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line a measure on stdout instead of a table.")] = False,
    large: Annotated[
        bool,
        typer.Option(
            "--large",
            help="Five-minute sustained runs, fairness beside 1M queued, claim_cost and rest_latency with 10M finished: half an hour, 15 GB of disk.",
        ),
    ] = False,
    only: Annotated[list[str] | None, typer.Option("--only", metavar="NAME", help="This measure; repeatable, or NAME,NAME.")] = None,
    jobs: Annotated[int, typer.Option("--jobs", min=20, help="Jobs of a drain; smaller measures take a share.")] = JOBS,
    seconds: Annotated[float | None, typer.Option("--seconds", min=1, help="Length of a sustained run: 60, with --large 300.")] = None,
    pairs: Annotated[int, typer.Option("--pairs", min=1, max=20, help="Interleaved pairs of a comparison.")] = PAIRS,
    database_url: Annotated[
        str | None,
        typer.Option(
            "--database-url", envvar="TRUNKLINE_BENCH_DATABASE_URL", help="A server where we may create databases; unset: our own."
        ),
    ] = None,
) -> None:
    """Measure the queue beside the least that PostgreSQL itself needs for the same work (about ten minutes)."""
    names = [name for given in only or [] for name in given.split(",") if name]
    try:
        chosen = catalogue.chosen(names, large=large)
    except InvalidInput as error:
        raise typer.BadParameter(str(error)) from None
    sizes = Sizes(jobs, seconds or (LARGE_SECONDS if large else SECONDS), pairs, large)
    logs.set_up("warning")
    report = Report(as_json=as_json)
    code = run_loop(lambda: _bench(report, chosen, names, sizes, database_url))
    if code:
        raise typer.Exit(code)


async def _bench(report: Report, chosen: Sequence[Measure], names: Sequence[str], sizes: Sizes, url: str | None) -> int:
    _cancel_on_signal()
    server: AbstractAsyncContextManager[Server] = embedded(report.say) if url is None else opened(url)
    try:
        async with server as it:
            if not it.facts["durable"]:
                report.say("commits are not durable on this server: its figures compare with nothing else.")
            run = Run(it, sizes, report.progress)
            for number, measure in enumerate(chosen, start=1):
                report.say(f"{', '.join(measure.names)} ({number} of {len(chosen)})")
                await _measure(report, run, measure, names)
    except asyncio.CancelledError:
        report.say("stopped")
        return INTERRUPTED
    except (TrunklineError, asyncpg.PostgresError, OSError) as error:
        report.say(f"cannot measure{f' on {mask_url(url)}' if url else ''}: {error}")
        return 1
    report.end()
    return 0 if report.is_clean else 1


async def _measure(report: Report, run: Run, measure: Measure, names: Sequence[str]) -> None:
    """One that fails does not take the others along."""
    others = usage.Others(run.server.postmaster)
    try:
        results = await measure.measure(run)
    except (MeasureFailed, TrunklineError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        report.failed(measure.names[0], error, run.server.facts)
        return
    for result in results:
        if not names or result.measure in names:
            report.add(result, others.share(), run.server.facts)


def _cancel_on_signal() -> None:
    """The first Ctrl-C or SIGTERM cancels; what follows must not cut the cleaning up short."""
    this = asyncio.current_task()
    assert this is not None
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, lambda: this.cancelling() or this.cancel())
