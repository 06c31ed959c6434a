"""What is answered about schedules and templates.

Always true: an attribute that is UNSET does not appear.
Called by: rest.routes, rest.examples.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from trunkline.rest.answers import Answer, Pagination


class Schedule(Answer, frozen=True, kw_only=True):
    """A schedule."""

    name: str
    type: str | None
    template: str | None
    payload: Any
    options: Any
    cron: str | None
    every: float | None
    at: datetime | None
    tz: str
    missed: Literal["skip", "once", "all"]
    missed_limit: int
    state: str
    next_run_at: datetime | None
    last_run_at: datetime | None
    paused_at: datetime | None
    error: str | None
    created_at: datetime
    updated_at: datetime


class Schedules(Answer, frozen=True, kw_only=True):
    """A page of schedules, by name."""

    data: list[Schedule]
    pagination: Pagination


class Fired(Answer, frozen=True, kw_only=True):
    """The job that a schedule made, or that stands for it."""

    job_id: UUID


class Firing(Answer, frozen=True, kw_only=True):
    """One due time and its job; `by_hand`: it was asked for."""

    due_at: datetime
    fired_at: datetime
    job_id: UUID
    by_hand: bool


class Firings(Answer, frozen=True, kw_only=True):
    """What a schedule fired, newest first."""

    data: list[Firing]


class Template(Answer, frozen=True, kw_only=True):
    """A template."""

    name: str
    type: str
    payload: Any
    options: Any
    updated_at: datetime


class Templates(Answer, frozen=True, kw_only=True):
    """A page of templates, by name."""

    data: list[Template]
    pagination: Pagination
