"""How answers look: tables and sentences for people, JSON for machines.

Always true: what came from a job, a name or an error is text, never markup, and its control characters are made visible, so
nothing that was enqueued can move a cursor or change a colour; colours appear on terminals only, and not under NO_COLOR;
without a terminal no line is wrapped or cut.
Called by: every command.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

T = TypeVar("T")
A_MOMENT_S = 0.6  # shorter than this, a spinner only flickers
GAP = 2  # columns between the columns of a table
LEAST_CUT = 16  # columns of a cut cell: with fewer nobody understands what it says, and the row takes several lines instead
PIPE_WIDTH = 240  # columns where nobody looks: wide enough that a table's rows stay whole
STATE_STYLES = {
    "queued": "cyan",
    "scheduled": "blue",
    "retrying": "yellow",
    "no_handler": "yellow",
    "waiting": "blue",
    "limited": "yellow",
    "active": "bold cyan",
    "completed": "green",
    "failed": "bold red",
    "cancelled": "magenta",
}
# C0, C1 and what turns the direction of text: shown as \x1b, \u202e, ...
_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def console(*, stderr: bool = False) -> Console:
    """The place for people's text; made anew, because tests and progress bars exchange the streams."""
    from rich.console import Console

    made = Console(stderr=stderr, markup=False, highlight=False, emoji=False)
    if not made.is_terminal:
        made.width = PIPE_WIDTH
    return made


def say(line: str = "", *, style: str | None = None, stderr: bool = False, whole: bool = False) -> None:
    """One sentence for people. `whole`: a command line, which is never broken, so that it can be copied."""
    place = console(stderr=stderr)
    place.print(visible(line), style=style, soft_wrap=whole or not place.is_terminal)


def draw(drawing: RenderableType) -> None:
    """A table for people; through a pipe without the blanks that fill its last column."""
    place = console()
    if place.is_terminal:
        place.print(drawing)
        return
    with place.capture() as captured:
        place.print(drawing)
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))


def hint(line: str) -> None:
    """Something worth knowing beside the answer: to standard error, so that the answer can still be read by a script."""
    say(line, style="dim", stderr=True)


async def patiently(work: Awaitable[T], doing: str) -> T:
    """The answer of `work`; on a terminal, what is being done is shown while it takes longer than a moment."""
    place = console(stderr=True)
    task = asyncio.ensure_future(work)
    try:
        if place.is_terminal and not (await asyncio.wait({task}, timeout=A_MOMENT_S))[0]:
            with place.status(doing):
                return await task
        return await task
    finally:
        task.cancel()


def emit(document: Any) -> None:
    """One JSON document: indented on a terminal, one line elsewhere."""
    import msgspec

    encoded = msgspec.json.encode(document)
    if sys.stdout.isatty():
        encoded = msgspec.json.format(encoded, indent=2)
    sys.stdout.write(encoded.decode() + "\n")


def emit_line(document: Any) -> None:
    """One of several JSON documents, each a line that can be read as soon as it is written."""
    import msgspec

    sys.stdout.write(msgspec.json.encode(document).decode() + "\n")
    sys.stdout.flush()


def table(columns: Sequence[str], rows: Iterable[Sequence[str | Text]], *, right: Sequence[str] = (), cut: str | None = None) -> Table:
    """A table with one line for each row, or on a terminal that is too narrow for that with several.

    Args:
        right: columns of numbers.
        cut: the column that gives way, with an ellipsis, when the terminal is too narrow; the others stay whole.
    """
    from rich import box
    from rich.cells import cell_len
    from rich.table import Table

    cells = [list(row) for row in rows]
    place = console()
    widths = [max([cell_len(column), *(cell_len(str(row[at])) for row in cells)]) for at, column in enumerate(columns)]
    # The box of terminals puts one blank of its own between columns.
    frame, pad = (box.SIMPLE_HEAD, GAP - 1) if place.is_terminal else (None, GAP)
    made = Table(box=frame, show_edge=False, pad_edge=False, padding=(0, pad, 0, 0), header_style="bold")
    gives = None if cut is None else columns.index(cut)
    others = sum(widths) + GAP * (len(columns) - 1) - (0 if gives is None else widths[gives])
    if place.is_terminal and others + (0 if gives is None else min(widths[gives], LEAST_CUT)) > place.width:
        fold = _fold(widths, [column in right for column in columns], place.width)
        made.add_column(fold(columns), no_wrap=True, overflow="ellipsis")
        for row in cells:
            made.add_row(fold(row))
        return made
    if gives is not None:
        widths[gives] = min(widths[gives], max(place.width - others, cell_len(columns[gives])))
    for column, width in zip(columns, widths, strict=True):
        made.add_column(column, justify="right" if column in right else "left", no_wrap=True, overflow="ellipsis", width=width)
    for row in cells:
        made.add_row(*row)
    return made


def _fold(widths: Sequence[int], is_right: Sequence[bool], width: int) -> Callable[[Sequence[str | Text]], Text]:
    """What makes one text of a row: as many columns a line as fit into `width` whole, later lines indented, empty ones left out."""
    from rich.text import Text

    lines: list[list[int]] = [[]]
    end = 0
    for at, needed in enumerate(widths):
        if lines[-1] and end + GAP + needed > width:
            lines.append([])
            end = 0
        end += GAP + needed if lines[-1] or len(lines) > 1 else needed
        lines[-1].append(at)

    def folded(row: Sequence[str | Text]) -> Text:
        told: list[Text] = []
        for line in lines:
            cells = [cell.copy() if isinstance(cell := row[at], Text) else Text(cell) for at in line]
            if told and not any(cell.plain for cell in cells):
                continue
            for at, cell in zip(line, cells, strict=True):
                cell.align("right" if is_right[at] else "left", widths[at])
            joined = Text(" " * GAP).join(cells)
            joined.rstrip()
            joined.truncate(width - (GAP if told else 0), overflow="ellipsis")
            told.append(Text.assemble(" " * GAP, joined) if told else joined)
        return Text("\n").join(told)

    return folded


def facts(pairs: Iterable[tuple[str, object]], *, label: int | None = None) -> Table:
    """Names and values, one a line; a pair whose value is None is left out. `label`: least width of the names."""
    from rich.table import Table
    from rich.text import Text

    made = Table.grid(padding=(0, 2))
    made.add_column(style="bold", no_wrap=True, min_width=label)
    made.add_column(overflow="fold")
    for name, value in pairs:
        if value is not None:
            made.add_row(name, value if isinstance(value, Text) else visible(str(value)))
    return made


def labelled(label: str, command: str, *, width: int) -> None:
    """A command line beside its label; it is never broken, so that it can be copied."""
    from rich.text import Text

    console().print(Text.assemble((f"{label:<{width}}", "bold"), "  ", visible(command)), soft_wrap=True)


def program() -> str:
    """How a person in this folder calls this command: by name, or where the PATH does not lead to it, by its path."""
    if shutil.which("trunkline"):
        return "trunkline"
    called = Path(sys.argv[0])
    if called.name != "trunkline":
        return "python -m trunkline.cli"
    return str(called.relative_to(Path.cwd()) if called.is_relative_to(Path.cwd()) else called)


def state(name: str) -> Text:
    """A job's state in its colour."""
    from rich.text import Text

    return Text(name, style=STATE_STYLES.get(name, ""))


def visible(value: object) -> str:
    """Text with its control characters made visible; line breaks and tabs stay."""
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), str(value))


def masked(url: str) -> str:
    """A URL without its passwords."""
    from trunkline.settings import mask_url

    return mask_url(url)


def short(value: object, longest: int = 200) -> str:
    """Visible text on one line, cut to `longest` characters."""
    line = " ".join(visible(value).split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def reason(error: object, longest: int = 160) -> str:
    """A job's error on one line: `Type: message`."""
    if not isinstance(error, dict):
        return ""
    return short(f"{error.get('type', '')}: {error.get('message', '')}".strip(": "), longest)


def pretty(value: Any) -> str:
    """JSON for people."""
    import msgspec

    return visible(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def count(number: int, one: str, many: str | None = None) -> str:
    """`1 job`, `2 jobs`."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def span(seconds: float, *, brief: bool = False) -> str:
    """A duration: `40 ms`, `1.4 s`, `3 min 20 s`, `2 h 5 min`, `9 d 4 h`; `brief`: the first unit only, in whole numbers."""
    if seconds < 1 and not brief:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return (f"{seconds:.0f}" if brief else f"{seconds:.1f}".removesuffix(".0")) + " s"
    for unit, size, smaller, less in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if seconds >= size:
            rest = int(seconds % size // less)
            return f"{int(seconds // size)} {unit}" + (f" {rest} {smaller}" if rest and not brief else "")
    raise AssertionError(seconds)


def ago(at: datetime | None, now: datetime | None = None, *, brief: bool = False) -> str:
    """`3 s ago`, `in 2 h`; a dash for no time."""
    if at is None:
        return "-"
    seconds = int(((now or datetime.now(UTC)) - at).total_seconds())
    if seconds == 0:
        return "now"
    return f"{span(seconds, brief=brief)} ago" if seconds > 0 else f"in {span(-seconds, brief=brief)}"


def moment(at: datetime | None) -> str | None:
    """`2026-11-22 23:16:05 UTC (3 s ago)`."""
    return None if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC ({ago(at)})"


def size(number: int) -> str:
    """Bytes: `8 kB`, `1.2 MB`."""
    for unit, factor in (("GB", 2**30), ("MB", 2**20)):
        if number >= factor:
            return f"{number / factor:.1f} {unit}"
    return f"{(number + 1023) // 1024} kB"
