"""/api/me: who asks, and what a user chooses."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from trunkline.auth import SCOPES
from trunkline.errors import Forbidden
from trunkline.rest import answers
from trunkline.rest.answers import json_answer
from trunkline.rest.api import Api
from trunkline.rest.asking import Asked
from trunkline.rest.messages import Me
from trunkline.rest.openapi import describe
from trunkline.rest.route import asked_of


def add(api: Api, router: APIRouter) -> None:
    """Its routes."""

    @router.get("/me", tags=["me"], **describe(answers.Me))
    async def get_me(request: Request) -> Response:
        """Who asks: the tenant, the user or token, the scopes; of a user also what the identity provider says."""
        return json_answer(await _me(asked_of(request)))

    @router.patch("/me", tags=["me"], **describe(answers.Me, body=Me, sent={"locale": "de-DE", "timeZone": "Europe/Berlin"}))
    async def change_me(request: Request) -> Response:
        """Choose a language and a time zone; null goes back to what the identity provider says."""
        asked = asked_of(request)
        _, wanted = await asked.body(Me)
        if asked.principal.user_id is None:
            raise Forbidden("this is for users, and a token belongs to none. Ask with a JWT.")
        if chosen := wanted.chosen():
            async with asked.acting() as act:
                await api.people.choose(act.store, asked.tenant_id, asked.principal.user_id, chosen)
                await act.noted(asked.tenant_id, "user.changed", f"user:{asked.principal.user_id}", **chosen)
        return json_answer(await _me(asked))


async def _me(asked: Asked) -> answers.Me:
    principal = asked.principal
    scopes: list[str] = [scope for scope in SCOPES if scope in principal.scopes]
    if principal.user_id is None:
        return answers.Me(tenant=principal.tenant, user_id=None, token_id=principal.token_id, scopes=scopes)
    person = await asked.api.people.get(principal.tenant_id, principal.user_id)
    return answers.Me(
        tenant=principal.tenant,
        user_id=principal.user_id,
        token_id=None,
        scopes=scopes,
        email=person.email,
        locale=person.locale,
        time_zone=person.time_zone,
        first_seen_at=person.first_seen_at,
    )
