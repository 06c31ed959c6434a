"""What the bench says: one JSON line a measure on stdout; progress, and on a terminal a table, on stderr.

Called by: peers. Calls: nothing of ours.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from rich.console import Console
from rich.table import Table

EVERY_S = 5.0  # between two progress lines where stderr is a file
ROUNDED = ("value", "handled_per_s", "p50", "p99", "first_quarter", "last_quarter")


class Report:
    """Collects the results of a run."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._results: list[dict[str, Any]] = []
        self._said_at = 0.0

    @property
    def is_clean(self) -> bool:
        """Whether something was measured and every result is verified."""
        return bool(self._results) and all(each["verified"] for each in self._results)

    def add(self, result: dict[str, Any]) -> None:
        """Print a result and keep it for the table."""
        self._clear()
        rounded = {key: round(value, 2) if key in ROUNDED else value for key, value in result.items()}
        self._results.append(rounded)
        print(json.dumps(rounded), flush=True)

    def say(self, text: str) -> None:
        """A line on stderr."""
        self._said_at = time.monotonic()
        self._clear()
        print(text, file=sys.stderr, flush=True)

    def progress(self, what: str, done: int, total: int) -> None:
        """Show how far a measure is: in place on a terminal, a line every few seconds elsewhere."""
        if time.monotonic() - self._said_at < (0.2 if self._console.is_terminal else EVERY_S):
            return
        self._said_at = time.monotonic()
        self._clear()
        end = "" if self._console.is_terminal else "\n"
        print(f"  {done} of {total} {what}", end=end, file=sys.stderr, flush=True)

    def table(self) -> None:
        """Every result, a measure a row and a peer a column; only for a person at a terminal."""
        if not self._console.is_terminal or not self._results:
            return
        systems = list(dict.fromkeys(each["system"] for each in self._results))
        table = Table("measure", *systems, title="peers")
        for measure in dict.fromkeys(each["measure"] for each in self._results):
            cells = {each["system"]: _cell(each) for each in self._results if each["measure"] == measure}
            table.add_row(measure, *(cells.get(system, "") for system in systems))
        self._console.print(table)

    def _clear(self) -> None:
        if self._console.is_terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _cell(result: dict[str, Any]) -> str:
    if "error" in result:
        return "failed"
    match result["measure"]:
        case "pickup":
            text = f"{result['p50']:.1f} / {result['p99']:.1f} ms"
        case "sustained":
            text = f"{result['first_quarter']:,.0f} → {result['last_quarter']:,.0f} jobs/s"
        case _:
            text = f"{result['value']:,.0f} {result['unit']}"
    return text if result["verified"] else f"{text} (not verified)"
