"""What a template or a schedule keeps for jobs to come: payload and options, checked as those of a job are."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import msgspec

from trunkline.errors import InvalidInput, SecretInPayload
from trunkline.model.job import NewJob, new_job
from trunkline.model.payload import decode
from trunkline.model.rule import Rule

ONE_JOB = ("id", "run_at", "expires_at", "idempotency_key", "depends_on", "batch_id", "schedule", "scheduled_for")


def checked_kept(kind: str, payload: Any, options: Mapping[str, Any], *, make: Callable[..., NewJob] = new_job) -> tuple[str | None, str]:
    """(payload, options) as JSON text; None stays None, and an option that is None stays null: it takes a template's away.

    Args:
        make: `new_job` by the settings of an application; what it allows and the built-in list of secrets does not is kept as
            `allow_secrets`, because the jobs are checked once more when SQL makes them.
    Raises:
        InvalidInput, InvalidPayload: what `new_job` refuses, and options that belong to one job.
    """
    for name in ONE_JOB:
        if options.get(name) is not None:
            raise InvalidInput(f"option {name} belongs to one job: a template or schedule makes many. Give it at enqueue.")
    given = {name: value for name, value in options.items() if value is not None}
    job = make(kind, payload, **given)
    kept: dict[str, Any] = dict.fromkeys(options)
    kept.update(decode(job.options) if job.options else {})
    kept.update({name: getattr(job, name) for name in ("queue", "priority", "user_id") if name in given})
    if given.get("allow_secrets") or _has_secrets(payload):
        kept["allow_secrets"] = True
    return None if payload is None else job.payload, msgspec.json.encode(kept).decode()


def _has_secrets(payload: Any) -> bool:
    try:
        new_job("kept", payload, max_bytes=sys.maxsize)
    except SecretInPayload:
        return True
    return False


@dataclass(frozen=True, slots=True)
class TemplateView:
    """A named kind with the payload and options that its jobs start from."""

    name: str
    kind: str
    payload: Any
    options: dict[str, Any]
    updated_at: datetime

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        plain = msgspec.to_builtins(asdict(self))
        assert isinstance(plain, dict)
        return plain


@dataclass(frozen=True, slots=True)
class ScheduleView:
    """A schedule, for people.

    Attributes:
        kind, template: what it makes jobs of; one of them is None.
        payload: None: {}, or the template's own.
        rule: when it is due.
        missed, missed_limit: skip, once or all (at most so many) of what fell due while nobody was there.
        state: active; unplanned (a worker is about to compute its next time); paused; over (a moment that is past);
            broken (`error` says why).
        next_run_at: None in every state but active.
        last_run_at: the last due time that was fired.
        error: why the last planning or firing failed.
        declared_by_code: by `@app.schedule`, so its code wins at each start of a worker.
        revision: rises with every change, firings included.
    """

    name: str
    kind: str | None
    template: str | None
    payload: Any
    options: dict[str, Any]
    rule: Rule
    missed: str
    missed_limit: int
    state: str
    next_run_at: datetime | None
    last_run_at: datetime | None
    paused_at: datetime | None
    error: str | None
    declared_by_code: bool
    revision: int
    created_at: datetime
    updated_at: datetime

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        plain = msgspec.to_builtins(asdict(self))
        assert isinstance(plain, dict)
        return plain
