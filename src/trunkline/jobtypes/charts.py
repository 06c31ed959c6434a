"""A report on usage as one HTML page: tables, and charts as SVG that the server draws.

Always true: the page holds no script, loads nothing and says so in its policy; every name is escaped, without control and direction
characters, and isolated from the text around it.
Called by: analytics_report.
"""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from html import escape

from trunkline.engine.usage import Usage

COLORS = {"completed": "#2e7d4f", "failed": "#c0392b", "cancelled": "#8a8a8a", "open": "#d9a441"}
WIDTH, HEIGHT, LEFT, BOTTOM = 960, 240, 56, 28
MOST_KINDS, LONGEST_NAME = 30, 80
STYLE = """body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#222}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}svg{width:100%;height:auto}text{font:11px system-ui,sans-serif;fill:#555}
table{border-collapse:collapse;width:100%}th,td{padding:.25rem .5rem;border-bottom:1px solid #ddd;text-align:right}
th:first-child,td:first-child{text-align:left;overflow-wrap:anywhere}.key span{display:inline-block;width:.8em;height:.8em;margin:0 .3em 0 1em}"""


def page(rows: Sequence[Usage], *, title: str, first: date, last: date, zone: str) -> str:
    """The whole page. `last` is the last day, itself included."""
    days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    total = _sum(rows)
    tenants = {row.tenant for row in rows}
    parts = [
        f"<h1>{name(title)}</h1><p>{first} to {last}, days of {name(zone)}. {total['enqueued']:,} jobs enqueued, {total['completed']:,} completed, "
        f"{total['failed']:,} failed, {total['cancelled']:,} cancelled, {total['open']:,} not ended yet.</p>",
        f"<h2>By day</h2>{_key()}{_by_day(rows, days)}",
        f"<h2>By kind</h2>{_table('kind', rows)}",
    ]
    if len(tenants) > 1:
        parts.append(f"<h2>By tenant</h2>{_table('tenant', rows)}")
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}"><meta name="viewport" content="width=device-width">'
        f"<title>{_plain(title)}</title><style>{STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def name(text: str) -> str:
    """A name of somebody's as HTML."""
    return f"<bdi>{_plain(text)}</bdi>"


def _plain(text: str) -> str:
    kept = "".join(letter for letter in text if unicodedata.category(letter) not in ("Cc", "Cf", "Cs"))
    return escape(kept if len(kept) <= LONGEST_NAME else f"{kept[: LONGEST_NAME - 1]}…")


def _sum(rows: Iterable[Usage]) -> Counter[str]:
    total: Counter[str] = Counter(dict.fromkeys(("enqueued", *COLORS, "retried"), 0))
    for row in rows:
        total.update({what: getattr(row, what) for what in total})
    return total


def _key() -> str:
    words = (f'<span style="background:{color}"></span>{what}' for what, color in COLORS.items())
    return f'<p class="key">{"".join(words)}</p>'


def _by_day(rows: Sequence[Usage], days: Sequence[date]) -> str:
    """Stacked bars, one a day."""
    by_day: dict[date, list[Usage]] = defaultdict(list)
    for row in rows:
        by_day[row.day].append(row)
    sums = [_sum(by_day[day]) for day in days]
    most = max((total["enqueued"] for total in sums), default=0) or 1
    most += most % 2  # the axis names its half, in whole jobs
    step, tall = (WIDTH - LEFT) / len(days), HEIGHT - BOTTOM - 10
    drawn = [_axis(most, tall)]
    for at, (day, total) in enumerate(zip(days, sums, strict=True)):
        y = float(HEIGHT - BOTTOM)
        for what, color in COLORS.items():
            height = total[what] / most * tall
            y -= height
            if height:
                place = f'x="{LEFT + at * step + step * 0.1:.2f}" y="{y:.2f}" width="{step * 0.8:.2f}" height="{height:.2f}"'
                drawn.append(f'<rect {place} fill="{color}"><title>{day}: {total[what]:,} {what}</title></rect>')
        if at % (len(days) // 10 + 1) == 0:
            drawn.append(f'<text x="{LEFT + at * step + step / 2:.2f}" y="{HEIGHT - 10}" text-anchor="middle">{day:%m-%d}</text>')
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="Jobs by day">{"".join(drawn)}</svg>'


def _axis(most: int, tall: float) -> str:
    lines = []
    for part in (0, 0.5, 1):
        y = HEIGHT - BOTTOM - part * tall
        lines.append(f'<line x1="{LEFT}" x2="{WIDTH}" y1="{y:.2f}" y2="{y:.2f}" stroke="#ddd"/>')
        lines.append(f'<text x="{LEFT - 6}" y="{y + 4:.2f}" text-anchor="end">{int(most * part):,}</text>')
    return "".join(lines)


def _table(what: str, rows: Sequence[Usage]) -> str:
    groups: dict[str, list[Usage]] = defaultdict(list)
    for row in rows:
        groups[getattr(row, what)].append(row)
    ordered = sorted(groups.items(), key=lambda item: (-sum(row.enqueued for row in item[1]), item[0]))
    lines = [_row(name(key), found) for key, found in ordered[:MOST_KINDS]]
    if rest := ordered[MOST_KINDS:]:
        lines.append(_row(f"{len(rest):,} more", [row for _, found in rest for row in found]))
    head = "".join(
        f"<th>{word}</th>" for word in (what, "enqueued", "completed", "failed", "cancelled", "retried", "failed, %", "mean, s", "wait, s")
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _row(label: str, rows: Sequence[Usage]) -> str:
    total = _sum(rows)
    ended = total["completed"] + total["failed"]
    share = f"{100 * total['failed'] / ended:.1f}" if ended else ""
    numbers = [f"{total[what]:,}" for what in ("enqueued", "completed", "failed", "cancelled", "retried")]
    cells = "".join(f"<td>{cell}</td>" for cell in (*numbers, share, _mean(rows, "mean_s"), _mean(rows, "wait_s")))
    return f"<tr><td>{label}</td>{cells}</tr>"


def _mean(rows: Sequence[Usage], what: str) -> str:
    """Weighed by the jobs that ended; those cancelled before they started move it a little."""
    known = [(getattr(row, what), row.enqueued - row.open) for row in rows if getattr(row, what) is not None]
    weight = sum(count for _, count in known)
    return f"{sum(value * count for value, count in known) / weight:.2f}" if weight else ""
