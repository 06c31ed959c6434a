"""What callers send: camelCase outside, snake_case inside. A field that is not known is refused.

Always true of a decoded message: each field has its type and range; payloads stay text.
Called by: rest.routes, rest.openapi.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from msgspec import UNSET, Meta, Raw, Struct, UnsetType, field

from trunkline.wire import job_options
from trunkline.wire.calls import ABSENT, JobOptions, Key, Name
from trunkline.wire.options import seconds

Status = Literal["queued", "active", "completed", "failed", "cancelled"]
LimitKey = Annotated[str, Meta(min_length=1, max_length=200)]
Text = Annotated[str, Meta(max_length=500)]


def absent() -> Raw:
    """Text that was not sent."""
    return ABSENT


class Body(Struct, rename="camel", frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What every body is."""


class Options(JobOptions, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a job is to be run; durations in seconds, or text such as "15 minutes". `expireInSeconds` is `expireIn` in other words."""

    priority: Annotated[int, Meta(ge=0, le=100)] | None = None  # type: ignore[assignment]
    expire_in_seconds: float | None = None
    queue: Name | None = None
    limit_key: LimitKey | None = None
    ordering_key: LimitKey | None = None
    on_parent_failure: Literal["cancel", "fail", "run"] | None = None

    def given(self) -> dict[str, Any]:
        """Arguments for new_job: what was said and nothing else."""
        more = {name: getattr(self, name) for name in ("queue", "limit_key", "ordering_key", "on_parent_failure")}
        if self.expire_in_seconds is not None and self.expire_in is None:
            more["timeout"] = seconds("expireInSeconds", self.expire_in_seconds)
        return {**job_options(self), **{name: value for name, value in more.items() if value is not None}}


class NewJob(Body, frozen=True, kw_only=True):
    """A job to be done: a type with a payload, or a template with what goes over its payload."""

    type: Name | None = None
    template: Name | None = None
    payload: Raw = field(default_factory=absent)
    options: Options = field(default_factory=Options)


class BulkFilter(Body, frozen=True, kw_only=True):
    """Which jobs; at least one field. `createdAfter` and `createdBefore` go by the time in the id."""

    ids: Annotated[list[UUID], Meta(min_length=1, max_length=1000)] | None = None
    status: Status | None = None
    type: Name | None = None
    queue: Name | None = None
    user_id: Key | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    error: Annotated[str, Meta(min_length=1, max_length=200)] | None = None


class Bulk(Body, frozen=True, kw_only=True):
    """Jobs to be cancelled or retried together."""

    filter: BulkFilter


class NewSchedule(Body, frozen=True, kw_only=True):
    """A rule that makes jobs: one of `cron`, `every` (seconds) and `at`; of a type or a template. The same name replaces."""

    name: Name
    type: Name | None = None
    template: Name | None = None
    payload: Raw = field(default_factory=absent)
    cron: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    every: Annotated[float, Meta(ge=1, le=315_360_000)] | None = None
    at: datetime | None = None
    tz: Annotated[str, Meta(min_length=1, max_length=100)] = "UTC"
    missed: Literal["skip", "once", "all"] = "once"
    missed_limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    overlap: Literal["allow", "skip"] = "allow"
    options: Options = field(default_factory=Options)


class NewTemplate(Body, frozen=True, kw_only=True):
    """A named type with payload and options that jobs start from. The same name replaces."""

    name: Name
    type: Name
    payload: Raw = field(default_factory=absent)
    options: Options = field(default_factory=Options)


class NewToken(Body, frozen=True, kw_only=True):
    """A token for a machine."""

    description: Text = ""
    scopes: Annotated[list[Literal["send", "work", "watch", "admin"]], Meta(min_length=1, max_length=4)] = field(
        default_factory=lambda: ["send", "work", "watch"]
    )
    expires_at: datetime | None = None


class Redrive(Body, frozen=True, kw_only=True):
    """Which dead letters go back in line, oldest end first: of a queue, of a type, or of both."""

    queue: Name | None = None
    type: Name | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 1000


class Me(Body, frozen=True, kw_only=True):
    """What a user chooses; null goes back to what the identity provider says."""

    locale: Annotated[str, Meta(min_length=1, max_length=100)] | UnsetType | None = UNSET
    time_zone: Annotated[str, Meta(min_length=1, max_length=100)] | UnsetType | None = UNSET

    def chosen(self) -> dict[str, str | None]:
        """What was said."""
        return {name: value for name in ("locale", "time_zone") if (value := getattr(self, name)) is not UNSET}
