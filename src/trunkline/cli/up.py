"""`trunkline up`: everything in one process tree. The database (embedded, unless TRUNKLINE_DATABASE_URL names one), the
schema, a worker with the built-in job types, and a port with the API and a gateway for remote workers and watchers.

Always true: what was started is stopped again, in the opposite order, however it ends; a port that cannot open is a sentence and
keeps nothing else from starting.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from trunkline.cli.options import Json, MetricsPort
from trunkline.cli.run import carry_out, leave

if TYPE_CHECKING:
    from trunkline.app import Trunkline
    from trunkline.cli.reach import Reached
    from trunkline.cli.voice import Voice

FIRST_S = 1.0  # the gateway stops first; while its clients take longer, the worker stops beside it, so that both have the same time


def up(
    demo: Annotated[bool, typer.Option("--demo", help="Make a sample database and read its schema with a real job.")] = False,
    once: Annotated[bool, typer.Option("--once", help="With --demo: end when the job has ended.")] = False,
    no_worker: Annotated[bool, typer.Option("--no-worker", help="Only the database and its schema.")] = False,
    no_gateway: Annotated[bool, typer.Option("--no-gateway", help="Open no port: neither API nor sockets.")] = False,
    concurrency: Annotated[int | None, typer.Option(min=1, help="Jobs at once. Unset: TRUNKLINE_CONCURRENCY.", show_default=False)] = None,
    metrics_port: MetricsPort = None,
    as_json: Json = False,
) -> None:
    """Start everything here: PostgreSQL, the schema, a worker, the API and a gateway. Ctrl-C stops it."""
    if once and not demo:
        raise typer.BadParameter("it ends after the demonstration, so it needs --demo.", param_hint="--once")
    if no_worker and demo:
        raise typer.BadParameter("the demonstration needs the worker: leave one of the two out.", param_hint="--no-worker")
    opens = not (no_gateway or no_worker or once)  # nobody could come in time
    going = _up(demo=demo, once=once, works=not no_worker, opens=opens, concurrency=concurrency, metrics_port=metrics_port, as_json=as_json)
    leave(carry_out(going, as_json=as_json))


async def _up(*, demo: bool, once: bool, works: bool, opens: bool, concurrency: int | None, metrics_port: int | None, as_json: bool) -> int:
    from trunkline.cli import beside, serve, welcome
    from trunkline.cli.config import warn_of_misspelt
    from trunkline.cli.demo import demonstrate, register_connections
    from trunkline.cli.interrupts import Interrupts, Stopped
    from trunkline.cli.voice import Voice

    voice = Voice(as_json=as_json)
    warn_of_misspelt(os.environ)
    async with AsyncExitStack() as stack:
        interrupts = stack.enter_context(Interrupts())
        try:
            reached, app = await interrupts.unless_asked(_opened(stack, voice))
            if demo or reached.server is not None:
                register_connections(reached)
            await welcome.metrics(app, metrics_port, voice)
            if opens:
                beside.prepare(app)
            worker = await app.start_worker(concurrency=concurrency) if works else None
            welcome.ready(app, voice, concurrency if worker else 0)
            if opens:
                await interrupts.unless_asked(beside.open_gateway(app, reached, voice))
        except Stopped:
            voice.say("Stopped before everything was up.")
            return 130
        code = 0
        try:
            if demo:
                code = await interrupts.unless_asked(demonstrate(app, reached, voice, stays=not once))
            if not once:
                voice.say("\nReady. Ctrl-C stops it.", style="bold")
                await serve.until_asked(worker, interrupts, voice)
        except Stopped:
            code = 130 if once else 0
        closing = asyncio.create_task(beside.close_gateway(app, voice))
        await asyncio.wait({closing}, timeout=FIRST_S)
        stopped = await serve.stop(app, worker, voice, quiet=once and not interrupts.asked.is_set()) if worker else 0
        unreported = await closing
        return code or unreported or stopped


async def _opened(stack: AsyncExitStack, voice: Voice) -> tuple[Reached, Trunkline]:
    """The database and the application on it; both are closed with the stack."""
    from trunkline.app import Trunkline
    from trunkline.cli import welcome
    from trunkline.cli.jobtypes import declare_built_in
    from trunkline.cli.migrate import apply
    from trunkline.cli.reach import database, load_settings

    reached = await stack.enter_async_context(database(load_settings(), make=True, quiet=voice.as_json))
    migrated = await apply(reached.settings)
    welcome.database(reached, migrated, voice)
    app = Trunkline(settings=reached.settings)
    stack.push_async_callback(app.close)
    declare_built_in(app)
    app.load_plugins()
    await app.open(migrate=False)
    return reached, app
