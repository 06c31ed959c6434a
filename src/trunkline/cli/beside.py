"""The gateway and the API that `up` opens beside its worker: on the port of the settings, on another one where that is taken.

Always true: what keeps the port from opening is a sentence, and everything else starts all the same; it begins to close before the
worker begins to stop, and both have the same time.
Called by: up.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from typing import TYPE_CHECKING

from trunkline.cli import show
from trunkline.cli.voice import Voice
from trunkline.errors import InvalidSetting

if TYPE_CHECKING:
    from trunkline.app import Trunkline
    from trunkline.auth import Mode
    from trunkline.cli.reach import Reached


def prepare(app: Trunkline) -> None:
    """Make the API before the worker starts, so that its /metrics counts the worker's attempts. What is missing is said by `open_gateway`."""
    with contextlib.suppress(InvalidSetting):
        _ = app.asgi


async def open_gateway(app: Trunkline, reached: Reached, voice: Voice) -> None:
    """Open it, say where it is and who gets in; or say why it is not there."""
    from trunkline.auth import mode_of

    settings = app.settings
    mode = mode_of(settings, is_embedded=reached.server is not None)
    port = settings.port
    try:
        if not _is_free(settings.host, port):
            voice.say(f"Port {port} is taken: this has another one. Set TRUNKLINE_PORT to one that is free to choose it.", style="yellow")
            port = 0
        server = await app.start_gateway(port=port, mode=mode, api=True)
    except InvalidSetting as error:
        voice.say(f"No gateway: {error}", style="yellow")
        voice.event("gateway", port=None, error=str(error))
        return
    _welcome(settings.host, server.port, mode, voice)


async def close_gateway(app: Trunkline, voice: Voice) -> int:
    """Let clients report what they have, then close the port; 1 when a report could not be written. Without a gateway: nothing."""
    stopped = await app.stop_gateway()
    if stopped is None:
        return 0
    voice.event("gateway-closed", handedBack=stopped.released + stopped.left, unreported=stopped.unflushed)
    if stopped.released + stopped.left:
        voice.say(f"Gateway closed: {show.count(stopped.released + stopped.left, 'job')} of its clients handed back.")
    return 1 if stopped.unflushed else 0


def _is_free(host: str, port: int) -> bool:
    """Whether nobody listens there; what else is wrong with an address is said by who opens it."""
    try:
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as error:
        return error.errno != errno.EADDRINUSE
    return True


def _welcome(host: str, port: int, mode: Mode, voice: Voice) -> None:
    from trunkline.auth.mode import TEST_TENANT, TEST_TOKEN
    from trunkline.cli.welcome import LABEL

    place = f"{f'[{host}]' if ':' in host else host}:{port}"
    token = TEST_TOKEN if mode == "development" else None
    make = f"{show.program()} tokens create --scope admin"
    facts = [
        ("API", f"http://{place}/api ({mode}), described at http://{place}/api/docs"),
        ("", "health: /healthz, /readyz, /api/health/jobs; metrics: /metrics"),
        ("Gateway", f"send and work: path /ws (Socket.IO), or ws://{place}/ws/raw"),
        ("", f"watch: http://{place}/jobs (Socket.IO)" + (", without a token too" if token else "")),
        ("Token", f"{token} (of tenant {TEST_TENANT}: may send, work and watch)" if token else f"make one: {make}"),
    ]
    voice.draw(show.facts(facts, label=LABEL))
    if token and not voice.as_json:
        show.labelled("Admin token", make, width=LABEL)
        show.labelled("Try", f"curl -H 'Authorization: Bearer {token}' http://{place}/api/jobs", width=LABEL)
    where = {"api": f"http://{place}/api", "docs": f"http://{place}/api/docs"}
    voice.event("gateway", host=host, port=port, mode=mode, token=token, **where)
