"""What a long-running command says: sentences for people, or one JSON line for each event.

Called by: up, demo, worker, serve.
"""

from __future__ import annotations

from typing import Any

from rich.console import RenderableType

from trunkline.cli import show


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
        """A line for machines."""
        if self.as_json:
            show.emit_line({"event": name, **values})
