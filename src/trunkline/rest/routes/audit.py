"""/api/audit: who did what, for administrators."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response

from trunkline.engine.records import Place
from trunkline.errors import InvalidInput
from trunkline.rest import answers, cursors
from trunkline.rest.answers import json_answer
from trunkline.rest.api import Api
from trunkline.rest.openapi import ID, describe
from trunkline.rest.paging import Cursor, Limit
from trunkline.rest.route import asked_of

Word = Annotated[str | None, Query(min_length=1, max_length=600)]
Since = Annotated[datetime | None, Query(description="From this time on.")]
Until = Annotated[datetime | None, Query(description="Before this time.")]
ROW = {
    "id": ID,
    "at": "2027-01-31T09:00:00Z",
    "actorKind": "user",
    "actor": "user-1",
    "act": "job.cancelled",
    "subject": f"job:{ID}",
    "via": "api",
    "address": "192.0.2.1",
    "detail": None,
}


def add(api: Api, router: APIRouter) -> None:
    """Its route."""

    @router.get("/audit", tags=["audit"], **describe(answers.AuditPage, example={"data": [ROW]}))
    async def list_audit(
        request: Request,
        actor: Word = None,
        act: Word = None,
        subject: Word = None,
        since: Since = None,
        until: Until = None,
        limit: Limit = 20,
        cursor: Cursor = None,
    ) -> Response:
        """Who did what in the tenant, newest first."""
        asked = asked_of(request)
        asked.require("admin")
        if any("\x00" in text for text in (actor, act, subject) if text):
            raise InvalidInput("a filter contains U+0000, which no text here has.")
        secret, question = await api.services.records.secret(asked.tenant_id), f"{asked.name} audit {(actor, act, subject, since, until)!r}"
        after = None if cursor is None else cursors.unpack(secret, question, cursor).job_id
        wanted = {"actor": actor, "act": act, "subject": subject}
        found, further = await api.audit.list(asked.tenant_id, **wanted, since=since, until=until, after=after, limit=limit)
        data = [
            answers.Noted(
                id=one.id,
                at=one.at,
                actor_kind=one.actor_kind,  # type: ignore[arg-type]
                actor=one.actor,
                act=one.act,
                subject=one.subject,
                via=one.via,  # type: ignore[arg-type]
                address=one.address,
                detail=None if one.detail is None else answers.raw(one.detail),
            )
            for one in found
        ]
        following = UNSET if further is None else cursors.pack(secret, question, Place(further))
        return json_answer(answers.AuditPage(data=data, next_cursor=following))
