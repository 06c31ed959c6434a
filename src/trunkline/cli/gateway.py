"""`trunkline gateway`: a port for remote workers and senders. It runs no handler itself."""

from __future__ import annotations

import os
import sys
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from trunkline.cli import show
from trunkline.cli.options import Json, MetricsPort
from trunkline.cli.run import carry_out, leave

if TYPE_CHECKING:
    from trunkline.app import Trunkline
    from trunkline.auth import Mode
    from trunkline.cli.voice import Voice
    from trunkline.settings import Settings


def gateway(
    host: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Unset: TRUNKLINE_HOST.", show_default=False)] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="0: any free one. Unset: TRUNKLINE_PORT.", show_default=False)] = None,
    metrics_port: MetricsPort = None,
    as_json: Json = False,
) -> None:
    """Let programs send jobs and work on them over WebSocket, with a token. Ctrl-C stops it: workers may report what they have."""
    leave(carry_out(_serve(host, port, metrics_port, as_json=as_json), as_json=as_json))


async def _serve(host: str | None, port: int | None, metrics_port: int | None, *, as_json: bool) -> int:
    from trunkline.cli import welcome
    from trunkline.cli.interrupts import Interrupts, Stopped
    from trunkline.cli.reach import LOG_LEVEL
    from trunkline.cli.voice import Voice
    from trunkline.observe import logs
    from trunkline.settings import Settings

    voice, settings = Voice(as_json=as_json), Settings.load(host=host, port=port)
    logs.set_up("warning" if sys.stderr.isatty() and not os.environ.get(LOG_LEVEL) else settings.log_level, settings.log_format)
    async with AsyncExitStack() as stack:
        interrupts = stack.enter_context(Interrupts())
        try:
            app, mode = await interrupts.unless_asked(_open(settings, stack, voice))
            await interrupts.unless_asked(welcome.metrics(app, metrics_port, voice))
            server = await interrupts.unless_asked(app.start_gateway(mode=mode))
        except Stopped:
            voice.say("Stopped before everything was up.")
            return 130
        voice.say(f"Gateway on {show.masked(app.settings.database_url or '')}, {mode}: ws://{settings.host}:{server.port}/ws/raw")
        voice.event("ready", host=settings.host, port=server.port, mode=mode)
        await interrupts.asked.wait()
        timeout_s = settings.shutdown_timeout_s
        voice.event("stopping", running=server.gateway.dispatcher.running, timeoutS=timeout_s)
        stopped = await app.stop_gateway(timeout_s)
        assert stopped is not None
        voice.say(f"Stopped: {stopped.released} handed back unstarted, {stopped.left} handed back while they ran.")
        voice.event("stopped", handedBack=stopped.released + stopped.left, unreported=stopped.unflushed)
        return 1 if stopped.unflushed else 0


async def _open(settings: Settings, stack: AsyncExitStack, voice: Voice) -> tuple[Trunkline, Mode]:
    """The application on its database, and the mode; both are closed with the stack."""
    from trunkline.app import Trunkline
    from trunkline.auth import mode_of
    from trunkline.cli.reach import database

    reached = await stack.enter_async_context(database(settings, make=True, quiet=voice.as_json))
    app = Trunkline(settings=reached.settings)
    stack.push_async_callback(app.close)
    await app.open(migrate=True if reached.server else None)
    return app, mode_of(settings, is_embedded=reached.server is not None)
