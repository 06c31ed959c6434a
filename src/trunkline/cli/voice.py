"""What a long-running command says: sentences for people, or one JSON line for each event; and to systemd, where it asked to be told,
when the process is ready and when it stops.

Called by: up, demo, worker, serve.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import Any

from rich.console import RenderableType

from trunkline.cli import show

STATES = {"ready": "READY=1", "stopping": "STOPPING=1"}  # events that systemd's Type=notify wants to know


def tell_manager(state: str) -> None:
    """Send `state` to the socket in NOTIFY_SOCKET (sd_notify); nothing where there is none. It never fails: the manager's own timeout
    says what silence means."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as speaking:
        speaking.sendto(state.encode(), address.replace("@", "\0", 1) if address.startswith("@") else address)


class Voice:
    """Speaks to standard output. `as_json`: events only."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json

    def say(self, line: str = "", *, style: str | None = None, whole: bool = False) -> None:
        """A sentence for people; `whole`: a command line."""
        if not self.as_json:
            show.say(line, style=style, whole=whole)

    def draw(self, drawing: RenderableType) -> None:
        """A table for people."""
        if not self.as_json:
            show.draw(drawing)

    def event(self, name: str, **values: Any) -> None:
        """A line for machines; `ready` and `stopping` are told to the service manager, too."""
        if name in STATES:
            tell_manager(STATES[name])
        if self.as_json:
            show.emit_line({"event": name, **values})
