"""`trunkline gateway`: a port for remote workers and senders; `trunkline serve`: the REST API on it, too. Neither runs a handler itself."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trunkline.cli import show
from trunkline.cli.options import Json, MetricsPort
from trunkline.cli.run import carry_out, leave

if TYPE_CHECKING:
    from trunkline.app import Trunkline
    from trunkline.auth import Mode
    from trunkline.cli.interrupts import Interrupts
    from trunkline.cli.voice import Voice
    from trunkline.settings import Settings


Host = Annotated[str | None, typer.Option(metavar="ADDRESS", help="Unset: TRUNKLINE_HOST.", show_default=False)]
Port = Annotated[int | None, typer.Option(min=0, max=65535, help="0: any free one. Unset: TRUNKLINE_PORT.", show_default=False)]
Workers = Annotated[
    int, typer.Option(min=1, max=256, metavar="N", help="Processes that share the port; above 1, Socket.IO without polling.")
]


def gateway(
    host: Host = None,
    port: Port = None,
    workers: Workers = 1,
    metrics_port: MetricsPort = None,
    as_json: Json = False,
) -> None:
    """Let programs send jobs and work on them over WebSocket, with a token. Ctrl-C stops it: workers may report what they have."""
    leave(carry_out(_serve(host, port, workers, metrics_port, api=False, as_json=as_json), as_json=as_json))


def serve(
    host: Host = None,
    port: Port = None,
    workers: Workers = 1,
    metrics_port: MetricsPort = None,
    as_json: Json = False,
) -> None:
    """Serve the REST API under /api, and the sockets of `gateway`, on one port. Ctrl-C stops it."""
    leave(carry_out(_serve(host, port, workers, metrics_port, api=True, as_json=as_json), as_json=as_json))


async def _serve(host: str | None, port: int | None, workers: int, metrics_port: int | None, *, api: bool, as_json: bool) -> int:
    from trunkline.cli import siblings, welcome
    from trunkline.cli.config import warn_of_misspelt
    from trunkline.cli.interrupts import Interrupts, Stopped
    from trunkline.cli.reach import LOG_LEVEL
    from trunkline.cli.voice import Voice
    from trunkline.errors import InvalidInput
    from trunkline.observe import logs
    from trunkline.settings import Settings

    voice, settings = Voice(as_json=as_json), Settings.load(host=host, port=port)
    logs.set_up("warning" if sys.stderr.isatty() and not os.environ.get(LOG_LEVEL) else settings.log_level, settings.log_format)
    if siblings.keeper() is None:  # whose process has said it
        warn_of_misspelt(os.environ)
    async with AsyncExitStack() as stack:
        interrupts = stack.enter_context(Interrupts())
        try:
            app, mode = await interrupts.unless_asked(_open(settings, stack, voice))
            if workers > 1:
                if metrics_port is not None:
                    raise InvalidInput(
                        "--metrics-port is for one process, and --workers starts several. Start them one by one to scrape each."
                    )
                return await _serve_many(app, mode, workers, interrupts, voice, api=api)
            keeper = siblings.keeper()
            if keeper is None:  # siblings cannot share the port of METRICS_PORT
                await interrupts.unless_asked(welcome.metrics(app, metrics_port, voice))
            server = await interrupts.unless_asked(app.start_gateway(mode=mode, api=api, shares_port=keeper is not None))
        except Stopped:
            voice.say("Stopped before everything was up.")
            return 130
        voice.say(f"Gateway on {show.masked(app.settings.database_url or '')}, {mode}: {_doors(settings.host, server.port, api=api)}")
        voice.event("ready", host=settings.host, port=server.port, mode=mode)
        asked: list[asyncio.Future[Any]] = [asyncio.ensure_future(interrupts.asked.wait())]
        if keeper is not None:
            asked.append(asyncio.ensure_future(siblings.keeper_gone(keeper)))
        await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        for each in asked:
            each.cancel()
        timeout_s = settings.shutdown_timeout_s
        voice.event("stopping", running=server.gateway.dispatcher.running, timeoutS=timeout_s)
        stopped = await app.stop_gateway(timeout_s)
        assert stopped is not None
        voice.say(f"Stopped: {stopped.released} handed back unstarted, {stopped.left} handed back while they ran.")
        voice.event("stopped", handedBack=stopped.released + stopped.left, unreported=stopped.unflushed)
        return 1 if stopped.unflushed else 0


async def _serve_many(app: Trunkline, mode: Mode, workers: int, interrupts: Interrupts, voice: Voice, *, api: bool) -> int:
    """Keep `workers` processes on the port until somebody asks."""
    from trunkline.auth import prepare
    from trunkline.cli.siblings import Siblings, reserve

    settings = app.settings
    await prepare(app.store, mode)
    with reserve(settings.host, settings.port) as held:
        port = int(held.getsockname()[1])
        environ = {"TRUNKLINE_DATABASE_URL": settings.database_url or "", "TRUNKLINE_ENV": mode}
        kept = Siblings("serve" if api else "gateway", workers, settings.host, port, environ)
        try:
            await interrupts.unless_asked(kept.start())
            voice.say(f"{workers} gateways on {show.masked(settings.database_url or '')}, {mode}: {_doors(settings.host, port, api=api)}")
            voice.event("ready", host=settings.host, port=port, mode=mode, workers=workers)
            await interrupts.asked.wait()
        finally:
            voice.event("stopping", timeoutS=settings.shutdown_timeout_s)
            code = await kept.stop(settings.shutdown_timeout_s + 10)
        handed_back = sum(each.get("handedBack", 0) for each in kept.stopped)
        voice.say(f"Stopped: {handed_back} handed back.")
        voice.event("stopped", handedBack=handed_back, unreported=sum(each.get("unreported", 0) for each in kept.stopped))
        return code


def _doors(host: str, port: int, *, api: bool) -> str:
    shown = f"[{host}]" if ":" in host else host
    rest = f"http://{shown}:{port}/api (described at /api/docs), " if api else ""
    return f"{rest}http://{shown}:{port}/ws (Socket.IO), ws://{shown}:{port}/ws/raw"


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
