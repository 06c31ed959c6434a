"""Options of a job on the wire as arguments of `model.new_job`.

Always true: what the wire does not say is not said, so that the policy of the kind decides.
Called by: gateway.commands.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from trunkline.errors import InvalidInput
from trunkline.model import kind_name
from trunkline.model.trace import checked
from trunkline.wire.calls import JobOptions

_UNITS_S = {"s": 1, "sec": 1, "second": 1, "m": 60, "min": 60, "minute": 60, "h": 3600, "hr": 3600, "hour": 3600, "d": 86400, "day": 86400}
_SPAN = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)\s*([a-z]+?)s?(?:\s+|$)")
_CLOCK = re.compile(r"(\d{1,4}):(\d{2}):(\d{2})")


def job_options(options: JobOptions | None) -> dict[str, Any]:
    """Keyword arguments for new_job; {} for none.

    Raises:
        InvalidInput: a time or a duration cannot be read.
    """
    if options is None:
        return {}
    given: dict[str, Any] = {
        "id": options.id,
        "priority": options.priority,
        "timeout": None if options.expire_in is None else seconds("expireIn", options.expire_in),
        "retry_limit": options.retry_limit,
        "retry_delay": options.retry_delay,
        "retry_backoff": options.retry_backoff,
        "unique_key": options.singleton_key,
        "idempotency_key": options.idempotency_key,
        "dead_letter": None if options.dead_letter is None else kind_name(options.dead_letter),
        "depends_on": [str(parent) for parent in options.depends_on] if options.depends_on else None,
        "user_id": options.user_id,
        "traceparent": checked(options.traceparent),
        **_start(options.start_after),
    }
    return {name: value for name, value in given.items() if value is not None}


def seconds(name: str, value: float | str) -> float:
    """A duration: seconds, "15 minutes", "1 hour 30 minutes" or "00:15:00".

    Raises:
        InvalidInput: it is none of these, or not above 0.
    """
    found = float(value) if not isinstance(value, str) else _spelled(value.strip().lower())
    if found is None or not 0 < found < float("inf"):
        raise InvalidInput(f'{name} is {str(value)[:80]!r}: need seconds above 0, or text such as "15 minutes".')
    return found


def _spelled(text: str) -> float | None:
    if clock := _CLOCK.fullmatch(text):
        hours, minutes, rest = (int(part) for part in clock.groups())
        return hours * 3600.0 + minutes * 60 + rest
    if re.fullmatch(r"\d{1,12}(\.\d{1,6})?", text):
        return float(text)
    parts, end = [], 0
    for part in _SPAN.finditer(text):
        if part.start() != end or part[2] not in _UNITS_S:
            return None
        parts.append(float(part[1]) * _UNITS_S[part[2]])
        end = part.end()
    return sum(parts) if parts and end == len(text) else None


def _start(start_after: float | str | None) -> dict[str, Any]:
    if start_after is None:
        return {}
    if not isinstance(start_after, str):
        return {"delay": start_after} if start_after != 0 else {}
    try:
        at = datetime.fromisoformat(start_after.strip())
    except ValueError:
        raise InvalidInput(f"startAfter is {start_after[:80]!r}: need seconds, or a time such as 2027-01-31T09:00:00Z.") from None
    return {"run_at": at.replace(tzinfo=UTC) if at.tzinfo is None else at}
