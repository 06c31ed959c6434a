"""A gateway in a process of its own, to be killed, stopped and woken: `python -m tests.support.gateway_process`.

It journals `up` with its port, and serves until SIGTERM. It dies with its parent.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal

from tests.support.journal import Journal
from tests.support.worker_process import end_with_the_parent
from trunkline import Trunkline
from trunkline.observe import logs
from trunkline.settings import Settings


def main() -> None:
    """Parse, die with the parent, serve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--journal", required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--port", type=int, default=0)
    end_with_the_parent()
    asyncio.run(serve(parser.parse_args()))


async def serve(given: argparse.Namespace) -> None:
    """Until SIGTERM."""
    logs.set_up("info", "console")
    journal = Journal(given.journal, given.name)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    settings = Settings.load({}, database_url=given.url, command_timeout_s=5, address_connect_rate=2000, address_connections=5000)
    async with Trunkline(settings=settings) as app:
        server = await app.start_gateway(port=given.port, mode="development")
        journal.note("up", session=server.gateway._remote.session_id, port=server.port, pid=os.getpid())
        await stop.wait()
        await app.stop_gateway(5.0)


if __name__ == "__main__":
    main()
