"""A job as it goes in (`NewJob`), as a worker holds it (`Claimed`), and as people see it (`JobView`)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from typing import Any, NamedTuple
from uuid import UUID, SafeUUID

import msgspec
from uuid_utils import uuid7

from trunkline.errors import BadId, InvalidInput
from trunkline.model.names import checked_name, kind_name, shown
from trunkline.model.payload import encode
from trunkline.model.policy import YEAR_S, in_range, seconds_within, whole
from trunkline.model.secret_fields import NO_SECRETS, USUAL, SecretFields

# option -> (lowest, highest); durations are seconds.
_RANGES: dict[str, tuple[float, float]] = {
    "delay": (0, 10 * YEAR_S),
    "retry_limit": (0, 1000),
    "retry_delay": (0, YEAR_S),
    "retry_max_delay": (0, YEAR_S),
    "retry_jitter": (0, 1),
    "timeout": (0.01, 30 * 86400.0),
    "idempotency_window": (0.001, YEAR_S),
    "unique_for": (1, YEAR_S),
}
_NOTHING = (None,) * 6
_PLAIN = (None,) * 5  # user, options, time and keys
_blank, _tuple, _UNKNOWN = object.__new__, tuple.__new__, SafeUUID.unknown
_set_int, _set_is_safe = (UUID.__dict__[slot].__set__ for slot in ("int", "is_safe"))
_checks: dict[str, Callable[[str, object, float, float], float]] = {"retry_limit": whole, "retry_jitter": in_range}
_AWARE = "need a datetime with a time zone, such as datetime.now(UTC)."
_FLAGS = ("retry_backoff", "unique_replace")
_OTHERS = (  # beside ranges and flags: what people may name
    *("priority", "queue", "id", "user_id", "run_at", "idempotency_key", "unique_key", "dead_letter", "expires_at", "scheduled_for"),
    *("traceparent", "limit_key", "ordering_key", "batch_id", "depends_on", "on_parent_failure", "schedule"),
)
_UNSTORABLE = re.compile("[\\x00\\ud800-\\udfff]")  # no PostgreSQL text holds them


class NewJob(NamedTuple):
    """A checked job on its way in. `payload` and `options` are JSON text; `options` None and no keys, no time: a plain job."""

    id: UUID
    kind: str
    queue: str
    priority: int
    payload: str
    user_id: str | None = None
    options: str | None = None
    run_at: datetime | None = None
    idempotency_key: str | None = None
    unique_key: str | None = None

    @property
    def is_plain(self) -> bool:
        """Whether it has nothing but a body, so that the fast paths may take it."""
        return self[5:] == _PLAIN


def new_job(
    kind: str,
    payload: Any = None,
    *,
    queue: str | None = None,
    priority: int = 0,
    id: UUID | str | None = None,
    user_id: str | None = None,
    run_at: datetime | None = None,
    delay: float | timedelta | None = None,
    idempotency_key: str | None = None,
    unique_key: str | None = None,
    max_bytes: int = 1024 * 1024,
    allow_secrets: bool = False,
    secret_fields: SecretFields = USUAL,
    **options: Any,
) -> NewJob:
    """Check everything about a job before anything is written.

    Args:
        payload: see `payload.encode`; None means {}.
        queue: its line; the kind's name when None.
        priority: 0..100, higher first.
        run_at: aware time; `delay`, seconds or a timedelta, may be given instead and counts by the database's clock.
        allow_secrets: take fields that are named like secrets, too (see model.secret_fields); for kinds that are encrypted.
        secret_fields: which names those are; an application uses TRUNKLINE_SECRET_FIELDS.
        options: retry_limit, retry_delay, retry_backoff, retry_max_delay, retry_jitter, timeout, expires_at,
            idempotency_window, unique_for, unique_replace, dead_letter, traceparent; durations in seconds;
            limit_key, ordering_key (text up to 200), depends_on (job ids), on_parent_failure (cancel, fail, run), batch_id;
            schedule, scheduled_for (what a schedule's firing notes: its name and the due time).
    Raises:
        InvalidInput, InvalidPayload, SecretInPayload, BadId: name the value and what is accepted.
    """
    name = kind_name(kind)
    if priority.__class__ is not int or not 0 <= priority <= 100:
        raise InvalidInput(f"priority is {priority!r}: need an integer from 0 to 100, higher first.")
    text = "{}" if payload is None else encode(payload, max_bytes=max_bytes, secrets=NO_SECRETS if allow_secrets else secret_fields)
    line = name if queue is None else checked_name("queue", queue)
    if not options and (id, user_id, run_at, delay, idempotency_key, unique_key) == _NOTHING:
        return _tuple(NewJob, (new_id(), name, line, priority, text) + _PLAIN)  # noqa: RUF005 - its constructor, and a star, take longer
    if delay is not None:
        if run_at is not None:
            raise InvalidInput("run_at and delay are both given: need one of them.")
        options["delay"] = delay
    key = _checked_text("unique_key", unique_key)
    return NewJob(
        id=new_id() if id is None else as_uuid(id),
        kind=name,
        queue=line,
        priority=priority,
        payload=text,
        user_id=_checked_text("user_id", user_id),
        options=_options(options, key),
        run_at=None if run_at is None else aware("run_at", run_at),
        idempotency_key=_checked_text("idempotency_key", idempotency_key),
        unique_key=key,
    )


def new_id() -> UUID:
    """A UUIDv7 as a standard UUID; without its constructor's checks, which cost four times the generation."""
    made = _blank(UUID)
    _set_int(made, uuid7().int)
    _set_is_safe(made, _UNKNOWN)
    return made


def id_at(moment: datetime) -> UUID:
    """The smallest UUIDv7 of a moment."""
    ms = max(int(moment.timestamp() * 1000), 0) & (2**48 - 1)
    return UUID(int=ms << 80)


def as_uuid(value: UUID | str, of: str = "job") -> UUID:
    """An id given as UUID or text; `of`: what it is the id of.

    Raises:
        BadId: it is neither.
    """
    if isinstance(value, UUID):
        return value
    try:
        return UUID(str(value))
    except ValueError:
        raise BadId(f"{of} id {shown(value)}: need a UUID.") from None


def as_uuids(values: UUID | str | Iterable[UUID | str]) -> list[UUID]:
    """Ids of jobs, or of the only one; BadId as `as_uuid`."""
    return [as_uuid(values)] if isinstance(values, (UUID, str)) else [as_uuid(value) for value in values]


def aware(name: str, value: object) -> datetime:
    """`value` if it is a moment everywhere.

    Raises:
        InvalidInput: names the argument and the value.
    """
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise InvalidInput(f"{name} is {shown(value)}: {_AWARE}")
    return value


def _checked_text(name: str, value: object, longest: int = 500) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not 1 <= len(value) <= longest or _UNSTORABLE.search(value):
        raise InvalidInput(f"{name} is {shown(value)}: need text of 1 to {longest} characters, without U+0000 and lone surrogates.")
    return value


def _options(options: dict[str, Any], unique_key: str | None) -> str | None:
    kept: dict[str, Any] = {}
    for name, value in options.items():
        if value is None:
            continue
        if name in _RANGES:
            number = value.total_seconds() if isinstance(value, timedelta) else value
            kept[name] = _checks.get(name, seconds_within)(name, number, *_RANGES[name])
        elif name in _FLAGS and isinstance(value, bool):
            kept[name] = value
        elif name == "dead_letter":
            kept[name] = checked_name("dead_letter queue", value)
        elif name in ("expires_at", "scheduled_for") and isinstance(value, datetime) and value.tzinfo is not None:
            kept[name] = value.astimezone(UTC).isoformat()
        elif name == "traceparent":
            kept[name] = _checked_text(name, value, 100)
        elif name in ("limit_key", "ordering_key", "schedule"):
            kept[name] = _checked_text(name, value, 200)
        elif name == "batch_id":
            kept[name] = str(as_uuid(value))
        elif name == "depends_on":
            kept[name] = _parents(value)
        elif name == "on_parent_failure" and value in ("cancel", "fail", "run"):
            kept[name] = value
        else:
            raise InvalidInput(f"option {name} is {shown(value)}: {_unfit(name)}")
    if unique_key is not None:
        kept["unique_key"] = unique_key
    return msgspec.json.encode(kept).decode() if kept else None


def _unfit(name: str) -> str:
    known = {*_RANGES, *_FLAGS, *_OTHERS}
    if name in known:
        return "need true or false." if name in _FLAGS else "need cancel, fail or run." if name == "on_parent_failure" else _AWARE
    near = get_close_matches(name, known, n=1)
    return (
        f"there is no such option, did you mean {near[0]}?" if near else f"there is no such option. There are: {', '.join(sorted(known))}."
    )


def _parents(value: object) -> list[str]:
    many = [value] if isinstance(value, (UUID, str)) else list(value) if isinstance(value, (list, tuple, set, frozenset)) else []
    if not 1 <= len(many) <= 1000:
        raise InvalidInput(f"depends_on is {shown(value)}: need 1 to 1000 job ids.")
    return sorted({str(as_uuid(parent)) for parent in many})


class Claimed(NamedTuple):
    """One lease: columns of sql claim(), in their order."""

    job_id: UUID
    attempt: int
    failures: int
    priority: int
    ord: int
    kind_id: int
    payload: str
    options: str | None
    user_id: str | None


@dataclass(frozen=True, slots=True)
class JobView:
    """Where a job stands, for people.

    Attributes:
        state: queued, scheduled, retrying, no_handler, waiting, limited, active, completed, failed or cancelled.
        attempt: number of its claims so far; `failures`: those that count against the retry limit.
    """

    id: UUID
    tenant_id: int
    queue: str
    kind: str
    state: str
    priority: int | None
    attempt: int
    failures: int
    payload: Any
    user_id: str | None
    created_at: datetime
    run_at: datetime | None
    started_at: datetime | None
    deadline: datetime | None
    finished_at: datetime | None
    result: Any
    error: Any
    progress: Any
    options: Any

    @property
    def is_terminal(self) -> bool:
        """Whether it has ended: completed, failed or cancelled."""
        return self.state in ("completed", "failed", "cancelled")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        plain = msgspec.to_builtins(asdict(replace(self)))
        assert isinstance(plain, dict)
        return plain
