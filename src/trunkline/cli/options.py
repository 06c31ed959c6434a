"""Arguments that commands share, and how their text becomes values.

Always true: a text that cannot be read ends as wrong usage (exit code 2) with the value and what is accepted.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

TIMES = ("run_at", "expires_at", "scheduled_for")
TEXTS = ("id", "queue", "user_id", "idempotency_key", "unique_key", "dead_letter", "traceparent", "limit_key", "ordering_key")
NO_OPTIONS = ("kind", "payload", "tenant", "connection", "max_bytes", "secret_fields")
UNITS_S = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(text: str) -> float:
    """`90`, `1.5s`, `5m`, `2h`, `1d` as seconds."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?|\.\d+)\s*([a-z]*)", text.strip())
    if found is None or found[2] not in UNITS_S:
        raise typer.BadParameter(f"{text!r}: need seconds, or a number with ms, s, m, h or d, such as 90, 1.5s, 5m, 2h, 1d.")
    return float(found[1]) * UNITS_S[found[2]]


def moment(text: str) -> datetime:
    """ISO 8601 with a time zone."""
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        raise typer.BadParameter(f"{text!r}: need a time such as 2027-01-31T09:00:00Z.") from None
    if at.tzinfo is None:
        raise typer.BadParameter(f"{text!r} has no time zone: write {text.strip()}Z for UTC, or +02:00 and the like.")
    return at.astimezone(UTC)


def job_options(pairs: list[str]) -> dict[str, Any]:
    """`retry_limit=5` and the like as the options of a job: numbers, truths, durations, times, text. Each of `depends_on` adds to it."""
    options: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{pair!r}: need name=value, such as retry_limit=5.", param_hint="--option")
        name = name.replace("-", "_")
        if name in NO_OPTIONS:
            raise typer.BadParameter(f"{name} is no option of a job: it has an argument of its own.", param_hint="--option")
        if name == "depends_on":
            options[name] = [*options.get(name, ()), *names([value])]
            continue
        if name in options:
            raise typer.BadParameter(f"{name} is given twice: only depends_on may be.", param_hint="--option")
        options[name] = moment(value) if name in TIMES else value if name in TEXTS else _scalar(value)
    return options


def names(given: list[str]) -> list[str]:
    """`--queues a,b --queues c` as a, b, c."""
    return [name.strip() for part in given for name in part.split(",") if name.strip()]


def _scalar(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|min|h|d)", text)
        return float(found[1]) * UNITS_S[found[2]] if found else text


Json = Annotated[bool, typer.Option("--json", help="Answer in JSON on standard output.")]
Tenant = Annotated[str | None, typer.Option(metavar="NAME", help="Whose jobs. Unset: TRUNKLINE_TENANT.", show_default=False)]
Options = Annotated[
    list[str] | None,
    typer.Option(
        "--option", metavar="NAME=VALUE", help="An option of the jobs: retry_limit=5, timeout=2m, user_id=u1, ...", show_default=False
    ),
]
MetricsPort = Annotated[
    int | None,
    typer.Option(min=0, max=65535, help="Where Prometheus reads; 0: any free one. Unset: TRUNKLINE_METRICS_PORT.", show_default=False),
]
JobIds = Annotated[list[str], typer.Argument(metavar="ID", help="Job ids.")]
JobId = Annotated[str, typer.Argument(metavar="ID", help="The job's id.")]
Timeout = Annotated[float | None, typer.Option(parser=seconds, metavar="90|5m|2h", help="Give up after this long.", show_default=False)]
Delay = Annotated[float | None, typer.Option(parser=seconds, metavar="90|5m|2h", help="Run this long from now.", show_default=False)]
RunAt = Annotated[
    datetime | None, typer.Option(parser=moment, metavar="TIME", help="Run at this time (ISO 8601 with a time zone).", show_default=False)
]
