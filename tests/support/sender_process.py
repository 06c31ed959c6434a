"""A sender in a process of its own: `python -m tests.support.sender_process`. Journals `up`, waits for the file `--gate` when one
is named, sends, journals `sent_all`, and ends. `--clock-off` gives it a wrong clock, and with it ids of a wrong time."""

from __future__ import annotations

import argparse
import asyncio
import os
from pathlib import Path

from tests.support.journal import Journal
from tests.support.sender import Sender
from tests.support.until import until
from tests.support.worker_process import end_with_the_parent
from trunkline import Trunkline
from trunkline.observe import logs
from trunkline.settings import Settings


def main() -> None:
    """Parse, die with the parent, send."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--journal", required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--kind", default="noop")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--at-once", type=int, default=50)
    parser.add_argument("--key", help="one idempotency key for all of them")
    parser.add_argument("--gate", help="begin when this file exists")
    parser.add_argument("--delay", type=float, help="seconds until they may run")
    parser.add_argument("--clock-off", type=float, default=0.0)
    end_with_the_parent()
    asyncio.run(send(parser.parse_args()))


async def send(given: argparse.Namespace) -> None:
    """Send them all."""
    logs.set_up("info", "console")
    journal = Journal(given.journal, given.name)
    if given.clock_off:
        from tests.support.wrong_clock import set_ahead

        set_ahead(given.clock_off)
    async with Trunkline(settings=Settings.load({}, database_url=given.url)) as app:
        journal.note("up", pid=os.getpid())
        if given.gate:
            await until(Path(given.gate).exists, f"the file {given.gate}")
        options = {"idempotency_key": given.key} if given.key else {}
        if given.delay is not None:
            options["delay"] = given.delay
        await Sender(app, journal).send_each(given.kind, given.count, {}, at_once=given.at_once, **options)
    journal.note("sent_all")


if __name__ == "__main__":
    main()
