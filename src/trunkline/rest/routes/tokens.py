"""/api/tokens: credentials of machines, for administrators."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec
from fastapi import APIRouter
from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response

from trunkline.auth import Tokens, TokenView
from trunkline.engine import Act
from trunkline.errors import InvalidInput, NotFound
from trunkline.rest import answers
from trunkline.rest.acting import once
from trunkline.rest.answers import json_answer
from trunkline.rest.api import Api
from trunkline.rest.messages import NewToken
from trunkline.rest.openapi import ID, describe
from trunkline.rest.paging import Limit, PageNumber, sliced
from trunkline.rest.route import asked_of

SENT = {"description": "importer", "scopes": ["send"], "expiresAt": "2027-01-31T09:00:00Z"}
MADE = {"id": ID, "description": "importer", "scopes": ["send"], "expiresAt": "2027-01-31T09:00:00Z", "token": "tl_..."}


def add(api: Api, router: APIRouter) -> None:
    """Its routes."""
    _add_reads(api, router)

    @router.post(
        "/tokens", tags=["tokens"], **describe(answers.NewTokenAnswer, status=201, body=NewToken, creates=True, sent=SENT, example=MADE)
    )
    async def create_token(request: Request) -> Response:
        """Make a token; its value is answered this once."""
        asked = asked_of(request)
        asked.require("admin")
        raw, wanted = await asked.body(NewToken)
        if wanted.expires_at is not None and wanted.expires_at.tzinfo is None:
            raise InvalidInput("expiresAt has no time zone: write 2027-01-31T09:00:00Z and the like.")

        async def create(act: Act) -> tuple[int, answers.NewTokenAnswer]:
            token_id, plain = await Tokens(act.store).create(
                asked.tenant_id, description=wanted.description, scopes=wanted.scopes, expires_at=wanted.expires_at
            )
            scopes: list[str] = sorted(set(wanted.scopes))
            await act.noted(asked.tenant_id, "token.created", f"token:{token_id}", scopes=scopes, description=wanted.description)
            return 201, answers.NewTokenAnswer(
                id=token_id, description=wanted.description, scopes=scopes, expires_at=wanted.expires_at, token=plain
            )

        return await once(asked, "POST /api/tokens", raw, create, kept=_without_value)

    @router.delete(
        "/tokens/{token_id}", tags=["tokens"], **describe(answers.Message, example={"message": "Token deactivated"}, refusals=(404,))
    )
    async def deactivate_token(request: Request, token_id: UUID) -> Response:
        """End a token for good; its open sockets are cut within 5 seconds."""
        asked = asked_of(request)
        asked.require("admin")
        async with asked.acting() as act:
            if await Tokens(act.store).deactivate(asked.tenant_id, token_id):
                await act.noted(asked.tenant_id, "token.deactivated", f"token:{token_id}")
        return json_answer(answers.Message(message="Token deactivated"))


def _without_value(made: Any) -> Any:
    return msgspec.structs.replace(made, token=UNSET)


def _add_reads(api: Api, router: APIRouter) -> None:
    @router.get("/tokens", tags=["tokens"], **describe(answers.Tokens))
    async def list_tokens(request: Request, page: PageNumber = 1, limit: Limit = 20) -> Response:
        """The tenant's tokens, newest first, of the last 1,000; without their values."""
        asked = asked_of(request)
        asked.require("admin")
        found, said = sliced(await api.tokens.of(asked.tenant_id), page, limit)
        return json_answer(answers.Tokens(data=[token_of(one) for one in found], pagination=said))

    @router.get("/tokens/{token_id}", tags=["tokens"], **describe(answers.Token, refusals=(404,)))
    async def get_token(request: Request, token_id: UUID) -> Response:
        """One token without its value."""
        asked = asked_of(request)
        asked.require("admin")
        try:
            return json_answer(token_of(await api.tokens.get(asked.tenant_id, token_id)))
        except NotFound:
            raise NotFound(f"token {token_id}: there is no such token.") from None


def token_of(view: TokenView) -> answers.Token:
    """A token as people see it."""
    return answers.Token(
        id=view.token_id,
        description=view.description,
        scopes=view.scopes,
        active=view.is_active,
        live=view.is_live,
        created_at=view.created_at,
        expires_at=view.expires_at,
        last_used_at=view.last_used_at,
    )
