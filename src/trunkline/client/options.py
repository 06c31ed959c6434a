"""What callers give, in the words of the wire: options of jobs by the names of `app.enqueue`, ids, payloads.

Always true: every job that goes out has an id made here, so that a call whose answer was lost may be sent again.
Called by: client.client.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

import msgspec

from trunkline.errors import InvalidInput
from trunkline.model import as_uuid
from trunkline.model.job import new_id
from trunkline.model.payload import encode
from trunkline.model.trace import traceparent
from trunkline.wire.calls import BatchJob, JobOptions

FAR_OFF_S = 3600.0  # a clock that is wrong by less makes ids that are good enough
WORDS = {
    "unique_key": "singleton_key",
    "timeout": "expire_in",
    **{name: name for name in JobOptions.__struct_fields__ if name not in ("singleton_key", "expire_in", "start_after")},
}
Given = tuple[str, Any] | tuple[str, Any, dict[str, Any]]
O = TypeVar("O", bound=JobOptions)  # noqa: E741 - options


def made_id(clock_off_s: float) -> UUID:
    """A UUIDv7 by the gateway's clock, which takes no id from a day ago."""
    if abs(clock_off_s) < FAR_OFF_S:
        return new_id()
    at_ms = int((time.time() + clock_off_s) * 1000)
    return UUID(int=at_ms << 80 | new_id().int & (1 << 80) - 1)


def options_of(given: dict[str, Any], kind: type[O], clock_off_s: float | None = None) -> O:
    """Options of one job; with `clock_off_s` it has an id.

    Args:
        given: priority, run_at or delay, timeout, retry_limit, retry_delay, retry_backoff, unique_key, idempotency_key,
            dead_letter, depends_on, user_id, id; durations in seconds or as timedelta.
    Raises:
        InvalidInput: an option is unknown, or not of its type.
    """
    fields: dict[str, Any] = {}
    for name, value in given.items():
        if value is None:
            continue
        if name in ("run_at", "delay"):
            if "start_after" in fields:
                raise InvalidInput("run_at and delay are both given: need one of them.")
            fields["start_after"] = _start(name, value)
        elif name in WORDS or (name == "tz" and "tz" in kind.__struct_fields__):
            fields[WORDS.get(name, name)] = value.total_seconds() if isinstance(value, timedelta) else value
        else:
            raise InvalidInput(f"option {name}: there is none. There are: run_at, delay, {', '.join(WORDS)}.")
    if clock_off_s is not None and "id" not in fields:
        fields["id"] = made_id(clock_off_s)
    if kind is JobOptions and "traceparent" not in fields and (parent := traceparent()) is not None:
        fields["traceparent"] = parent
    try:
        return msgspec.convert(_on_the_wire(fields, kind), kind)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"options: {error}") from None


def payload_of(payload: Any) -> msgspec.Raw:
    """The payload as it travels; None means {}.

    Raises:
        InvalidPayload: it is not JSON that can be stored.
    """
    return msgspec.Raw(b"{}" if payload is None else encode(payload).encode())


def batch_jobs(jobs: Iterable[Given], clock_off_s: float) -> list[BatchJob]:
    """Jobs as (name, payload) or (name, payload, options); an error names the place of the job, from 0."""
    made = []
    for at, given in enumerate(jobs):
        try:
            name, payload, options = (*given, {})[:3]
            made.append(BatchJob(name, payload_of(payload), options_of(options, JobOptions, clock_off_s)))
        except InvalidInput as error:
            raise type(error)(f"job {at}: {error}") from None
        except (TypeError, ValueError):
            raise InvalidInput(f"job {at} is {str(given)[:80]!r}: need (name, payload) or (name, payload, options).") from None
    return made


def identity(job_id: UUID | str) -> UUID:
    """An id given as UUID or text; BadId."""
    return as_uuid(job_id)


def _on_the_wire(fields: dict[str, Any], kind: type[JobOptions]) -> dict[str, Any]:
    names = dict(zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True))
    return {names[field]: value for field, value in fields.items()}


def _start(name: str, value: object) -> float | str:
    if name == "run_at":
        if not isinstance(value, datetime) or value.tzinfo is None:
            raise InvalidInput(f"run_at is {value!r}: need a datetime with a time zone, such as datetime.now(UTC).")
        return value.isoformat()
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise InvalidInput(f"delay is {value!r}: need seconds or a timedelta.")
    return float(seconds)
