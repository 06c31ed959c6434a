"""A worker in a process of its own, to be killed, stopped and woken: `python -m tests.support.worker_process`.

It journals `up` with its session, runs the handlers of `tests.support.handlers` until SIGTERM, and journals `stopped` with
what its shutdown did. It dies when its standard input ends, so a killed test leaves nothing behind.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import os
import signal
import sys
import threading

from tests.support.handlers import declare, declare_secret, noting_acks
from tests.support.journal import Journal
from trunkline import Trunkline
from trunkline.observe import logs
from trunkline.settings import Settings

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Parse, die with the parent, work."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--listen-url", help="where to listen, if not there")
    parser.add_argument("--journal", required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--concurrency", type=int, default=10)
    parser.add_argument("--pool-max", type=int, default=10)
    parser.add_argument("--timeout", type=float, default=120.0, help="of each handler, seconds")
    parser.add_argument("--retry-limit", type=int, default=20)
    parser.add_argument("--tenants", choices=("default", "all"), default="default")
    parser.add_argument("--command-timeout", type=float, default=30.0)
    parser.add_argument("--shutdown-timeout", type=float, default=10.0)
    parser.add_argument("--keys", help="TRUNKLINE_ENCRYPTION_KEYS; with them there is the encrypted kind `secret`")
    parser.add_argument("--clock-off", type=float, default=0.0, help="seconds that this host's clock is ahead of the true time")
    end_with_the_parent()
    asyncio.run(work(parser.parse_args()))


def end_with_the_parent() -> None:
    """SIGKILL on the parent's end where the system knows it, and on the end of standard input everywhere."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    def watch() -> None:
        os.read(0, 1)  # not sys.stdin: a daemon thread inside its lock would abort the exit
        os._exit(9)

    threading.Thread(target=watch, daemon=True).start()


async def work(given: argparse.Namespace) -> None:
    """Run jobs until SIGTERM."""
    logs.set_up("info", "console")
    journal = Journal(given.journal, given.name)
    if given.clock_off:
        from tests.support.wrong_clock import set_ahead

        set_ahead(given.clock_off)
    settings = Settings.load(
        {},
        database_url=given.url,
        listen_url=given.listen_url,
        pool_max=given.pool_max,
        command_timeout_s=given.command_timeout,
        shutdown_timeout_s=given.shutdown_timeout,
        encryption_keys=given.keys,
    )
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    with noting_acks(journal):
        app = Trunkline(settings=settings)
        declare(app, journal, timeout=given.timeout, retry_limit=given.retry_limit, tenants=given.tenants)
        if given.keys:
            declare_secret(app, journal)
        try:
            await app.start_worker(concurrency=given.concurrency)
            presence = await app._present()
            journal.note("up", session=presence[1].session_id, pid=os.getpid())
            await stop.wait()
            done = await app.stop_worker()
        finally:
            await app.close()
        journal.note("stopped", finished=done.finished, released=done.released, unflushed=done.unflushed)


if __name__ == "__main__":
    main()
