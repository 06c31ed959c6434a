"""Measures pg-boss, graphile-worker, pgqueuer and procrastinate on one PostgreSQL with durable commits.

Always true: nothing is left behind; every process has a deadline, every database is dropped, an embedded server
is stopped. The exit code is 0 only if something was measured and every drain was verified.
Called by: peers.sh, which installs the peers first. Calls: measures, report.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
from adapter import AdapterFailed
from catalogue import PEERS, Peer
from measures import Bench, Sizes
from report import Report

from trunkline.embedded import EmbeddedServer, erase
from trunkline.errors import EmbeddedFailed

OUT = Path(__file__).parent / "out"
MEASURES = ("drain", "drain_two", "enqueue_bulk", "enqueue_single", "pickup", "sustained", "wal_per_job")


def _flags() -> argparse.Namespace:
    names = [peer.name for peer in PEERS]
    parser = argparse.ArgumentParser(prog="peers.sh", description="Measure other PostgreSQL queues; JSON on stdout.")
    add = parser.add_argument
    add("--only", action="append", choices=names, metavar="NAME", help=f"one of {', '.join(names)}; repeatable")
    add("--measures", type=_measures, default=MEASURES, metavar="A,B", help=f"of {', '.join(MEASURES)}")
    add("--jobs", type=_count, help="jobs of a drain (default: 50000, procrastinate 5000)")
    add("--seconds", type=_count, default=20, help="length of the sustained measure (default: 20)")
    add("--samples", type=_count, default=200, help="jobs of the pickup measure (default: 200)")
    add("--database-url", default=os.environ.get("BENCH_DATABASE_URL"), metavar="URL",
        help="a server where we may create databases (default: BENCH_DATABASE_URL, else an embedded one)")  # fmt: skip
    return parser.parse_args()


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 2:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of 2 or more")
    return int(text)


def _measures(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if unknown := set(names) - set(MEASURES):
        raise argparse.ArgumentTypeError(f"no measure {', '.join(sorted(unknown))}; one of {', '.join(MEASURES)}")
    return names


@contextlib.asynccontextmanager
async def _server(url: str | None, report: Report) -> AsyncIterator[str]:
    """The given server, or an embedded one that lives as long as the block."""
    if url:
        yield url
        return
    report.say("starting an embedded PostgreSQL")
    data_dir = OUT / f"postgres-{os.getpid()}"  # on the disk of the checkout: a temporary folder may be memory
    try:
        server = EmbeddedServer.start(data_dir)  # blocks, and so cannot be cancelled half way
    except EmbeddedFailed as error:
        raise SystemExit(f"{error} Or give --database-url.") from error
    try:
        yield server.url
    finally:
        server.stop()
        erase(data_dir)


async def _refuse_unsafe(admin: asyncpg.Connection) -> str:
    """Check that a commit means it is on disk; returns the server's version."""
    for name in ("fsync", "synchronous_commit", "full_page_writes"):
        if (value := await admin.fetchval("select current_setting($1)", name)) != "on":
            raise SystemExit(f"{name} is {value}: these figures are about durable commits. Set it to on.")
    return str(await admin.fetchval("select current_setting('server_version')"))


async def _measure(peer: Peer, flags: argparse.Namespace, url: str, report: Report) -> None:
    sizes = Sizes(jobs=flags.jobs or peer.jobs, samples=flags.samples, seconds=flags.seconds)
    try:
        admin = await asyncpg.connect(url)
    except (asyncpg.PostgresError, OSError) as error:
        raise SystemExit(f"Cannot connect to the server: {error}. Check --database-url and BENCH_DATABASE_URL.") from error
    try:
        server = await _refuse_unsafe(admin)
        bench = Bench(peer, admin=admin, url=url, sizes=sizes, progress=report.progress)
        for number, measure in enumerate(flags.measures, start=1):
            report.say(f"{peer.name}: {measure} ({number} of {len(flags.measures)})")
            try:
                result = await bench.measure(measure)
            except (AdapterFailed, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
                report.say(f"{peer.name}: {measure} failed: {error}")
                result = {"verified": False, "error": str(error).splitlines()[0]}
            report.add({"measure": measure, "system": peer.name, **bench.about, **result,
                        "postgres": server, "cores": os.cpu_count()})  # fmt: skip
    finally:
        await admin.close()


def _cancel_on_signal() -> None:
    """Turn the first Ctrl-C or SIGTERM into a cancel; what follows it must not cut the cleaning up short."""
    this = asyncio.current_task()
    assert this is not None
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, lambda: this.cancelling() or this.cancel())


async def _run(flags: argparse.Namespace) -> int:
    report = Report()
    _cancel_on_signal()
    try:
        async with _server(flags.database_url, report) as url:
            for peer in PEERS:
                if flags.only and peer.name not in flags.only:
                    continue
                if not peer.installed.exists():
                    report.say(f"{peer.name}: not installed, skipped")
                    continue
                await _measure(peer, flags, url, report)
    except asyncio.CancelledError:
        report.say("stopped")
        return 130
    report.table()
    return 0 if report.is_clean else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(_run(_flags())))
