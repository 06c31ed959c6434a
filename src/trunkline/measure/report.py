"""How a run is told: one JSON line a measure or a table on stdout, progress on stderr.

Called by: command.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from trunkline.measure.result import Result

EVERY_S = 5.0  # between two progress lines where stderr is a file
EVERY_ON_A_TERMINAL_S = 0.2


class Report:
    """Collects the lines of a run."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._lines: list[dict[str, Any]] = []
        self._is_terminal = sys.stderr.isatty()
        self._said_at = 0.0

    @property
    def is_clean(self) -> bool:
        """Whether something was measured and all of it is verified."""
        return bool(self._lines) and all(line["verified"] for line in self._lines)

    def add(self, result: Result, others_cpu: float | None, machine: dict[str, Any]) -> None:
        """Tell a result; `others_cpu` is the share of all cores that others had meanwhile."""
        self._add({**result.to_dict(), "others_cpu": others_cpu if others_cpu is None else round(others_cpu, 3), "machine": machine})

    def failed(self, measure: str, error: BaseException, machine: dict[str, Any]) -> None:
        """Tell why there is no result."""
        text = str(error) or type(error).__name__
        self.say(f"{measure} failed: {text}")
        self._add({"measure": measure, "system": "trunkline", "verified": False, "error": text.splitlines()[0], "machine": machine})

    def say(self, text: str) -> None:
        """A line on stderr."""
        self._said_at = time.monotonic()
        self._clear()
        print(text, file=sys.stderr, flush=True)

    def progress(self, what: str, done: float, total: float) -> None:
        """How far a measure is: in place on a terminal, a line every few seconds elsewhere."""
        if time.monotonic() - self._said_at < (EVERY_ON_A_TERMINAL_S if self._is_terminal else EVERY_S):
            return
        self._said_at = time.monotonic()
        self._clear()
        print(f"  {done:,.0f} of {total:,.0f} {what}", end="" if self._is_terminal else "\n", file=sys.stderr, flush=True)

    def end(self) -> None:
        """The table, where no JSON was asked for."""
        self._clear()
        if not self._as_json and self._lines:
            console = Console()
            console.print(table(self._lines))
            console.print(legend(self._lines), highlight=False)

    def _add(self, line: dict[str, Any]) -> None:
        self._lines.append(line)
        if self._as_json:
            self._clear()
            print(json.dumps(line), flush=True)

    def _clear(self) -> None:
        if self._is_terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def table(lines: list[dict[str, Any]]) -> Table:
    """A row for each measure, and one for each further floor it was compared with."""
    machine = lines[0]["machine"]
    title = f"PostgreSQL {machine['postgres']}, Python {machine['python']} ({machine['loop']}), {machine['cores']} x {machine['cpu']}"
    found = Table(Column("measure", no_wrap=True), "value", "beside", "ratio", "target", title=title, caption=_caption(machine))
    for line in lines:
        if "error" in line:
            found.add_row(line["measure"], "failed", line["error"])
            continue
        value = f"{_number(line['value'])} {line['unit']}"
        target = "" if line["target"] is None else f"{'met' if line['met'] else 'MISSED'}: {line['target'].replace(', ', chr(10))}"
        rows = [_cells(name, floor) for name, floor in line["floors"].items()] or [("", "")]
        found.add_row(line["measure"], value, *rows[0], target)
        for row in rows[1:]:
            found.add_row("", "", *row, "")
    return found


def legend(lines: list[dict[str, Any]]) -> str:
    """What the names in "beside" mean, each once."""
    meanings = {name: floor["is"] for line in lines for name, floor in line.get("floors", {}).items()}
    return "\n".join(f"{name}: {meaning}" for name, meaning in meanings.items())


def _cells(name: str, floor: dict[str, Any]) -> tuple[str, str]:
    ratio = f"{floor['ratio']:.2f} ({floor['ratio_min']:.2f}..{floor['ratio_max']:.2f})"
    return f"{name} {_number(floor['value'])}", ratio


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _caption(machine: dict[str, Any]) -> str:
    settings = machine["postgres_settings"]
    durable = "durable commits" if machine["durable"] else "COMMITS ARE NOT DURABLE"
    return f"{durable}, shared_buffers {settings['shared_buffers']}, max_wal_size {settings['max_wal_size']}, {machine['date']}"
