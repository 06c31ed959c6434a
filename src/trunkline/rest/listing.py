"""Filters of lists of jobs, from a query or a body, narrowed to what the principal may see; and the page that answers one.

Always true: a user's filter names that user, whatever was asked for.
Called by: rest.routes.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends
from fastapi import Query as Parameter
from starlette.responses import Response

from trunkline.engine.acts import not_there
from trunkline.engine.records import Filter
from trunkline.errors import Forbidden, InvalidInput
from trunkline.model import kind_name
from trunkline.rest import answers, cursors
from trunkline.rest.answers import WAITING, json_answer
from trunkline.rest.asking import Asked
from trunkline.rest.messages import Status
from trunkline.rest.paging import offset_of, pagination

Time = Annotated[datetime | None, Parameter(description="ISO 8601 with a time zone.")]
Word = Annotated[str | None, Parameter(min_length=1, max_length=200)]


class Asking:
    """The filter in a query; FastAPI makes it of the parameters."""

    def __init__(
        self,
        status: Annotated[Status | None, Parameter(description="`queued` is all that is not yet running.")] = None,
        type: Word = None,
        queue: Word = None,
        userId: Annotated[str | None, Parameter(min_length=1, max_length=500)] = None,
        createdAfter: Time = None,
        createdBefore: Time = None,
        error: Annotated[
            str | None, Parameter(min_length=1, max_length=200, description="Text in the error of failed (or cancelled) jobs.")
        ] = None,
    ) -> None:
        self.given: dict[str, Any] = {
            "status": status,
            "kind": type,
            "queue": queue,
            "user_id": userId,
            "created_after": createdAfter,
            "created_before": createdBefore,
            "error": error,
        }


Query = Annotated[Asking, Depends()]


def wanted(asked: Asked, asking: Asking) -> Filter:
    """What a query asks for."""
    return filter_of(asked, **asking.given)


def filter_of(
    asked: Asked,
    *,
    status: str | None = None,
    kind: str | None = None,
    queue: str | None = None,
    user_id: str | None = None,
    created_after: datetime | None = None,
    created_before: datetime | None = None,
    error: str | None = None,
) -> Filter:
    """A filter for this principal.

    Raises:
        Forbidden: another user's jobs. InvalidInput: a time without a zone, or text in the error of jobs that have none.
    """
    if asked.only_user is not None:
        if user_id not in (None, asked.only_user):
            raise Forbidden("the jobs of other users need the scope 'admin'.")
        user_id = asked.only_user
    for name, moment in (("createdAfter", created_after), ("createdBefore", created_before)):
        if moment is not None and moment.tzinfo is None:
            raise InvalidInput(f"{name} is {moment.isoformat()}: need a time zone, such as 2027-01-31T09:00:00Z.")
    if error is not None:
        status = status or "failed"
        if status not in ("failed", "cancelled"):
            raise InvalidInput(f"error goes with status failed or cancelled, not {status!r}.")
    states = WAITING if status == "queued" else () if status is None else (status,)
    checked = {"kind": None if kind is None else kind_name(kind), "queue": queue, "user_id": user_id, "error": error}
    for name, text in checked.items():
        if text is not None and "\x00" in text:
            raise InvalidInput(f"{name} contains U+0000, which no text here has.")
    return Filter(states=states, created_after=created_after, created_before=created_before, **checked)


def check_own(asked: Asked, job_id: UUID, user_id: str | None) -> None:
    """NotFound where a job is another user's."""
    if asked.only_user is not None and asked.only_user != user_id:
        raise not_there(job_id)


async def page_of(asked: Asked, wanted: Filter, *, page: int, limit: int, cursor: str | None, detail: bool) -> Response:
    """A page as an answer."""
    records = asked.api.services.records
    secret, question = await records.secret(asked.tenant_id), f"{asked.name} jobs {wanted!r}"
    after = None if cursor is None else cursors.unpack(secret, question, cursor)
    found = await records.page(asked.tenant_id, wanted, limit=limit, after=after, offset=0 if after else offset_of(page, limit))
    following = None if found.next is None else cursors.pack(secret, question, found.next)
    said = pagination(page, limit, found.total, following, is_capped=found.is_capped)
    return json_answer(answers.Jobs(data=[answers.job_of(row, detail=detail) for row in found.jobs], pagination=said))


def narrowed(wanted: Filter, states: tuple[str, ...]) -> Filter:
    """The same of jobs in these states."""
    return replace(wanted, states=states)
