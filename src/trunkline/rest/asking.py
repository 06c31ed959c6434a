"""`Asked`: one request with who makes it, and the reading of its body.

Always true: a body is read up to MAX_BODY bytes and BODY_S seconds; it is good JSON before any type is made of it; a field that is
not known is refused.
Called by: rest.route, rest.routes.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request

from trunkline.auth import Principal, Scope
from trunkline.engine import Act, acting
from trunkline.errors import Forbidden, InvalidInput
from trunkline.model.actor import Actor
from trunkline.rest.api import Api
from trunkline.rest.problems import Refused
from trunkline.wire import checked

T = TypeVar("T")
MAX_BODY = 1024 * 1024
DISCARDED = 8 * 1024 * 1024  # read and thrown away, so that the refusal can be read; past it the connection is closed
BODY_S = 10.0
PATIENT = "trunkline.patient"  # tells our server that we bound the body ourselves, and answer when it is too slow


@dataclass(frozen=True, slots=True)
class Asked:
    """A request of a principal."""

    api: Api
    request: Request
    principal: Principal

    @property
    def tenant(self) -> str:
        """The tenant's name."""
        return self.principal.tenant

    @property
    def tenant_id(self) -> int:
        """The tenant's number."""
        return self.principal.tenant_id

    @property
    def only_user(self) -> str | None:
        """Whose jobs may be seen: a user's own; None: the whole tenant's (administrators and machines)."""
        return None if self.principal.is_admin else self.principal.user_id

    @property
    def name(self) -> str:
        """The principal as one text, unlike any other's of its tenant."""
        return f"user:{self.principal.user_id}" if self.principal.token_id is None else f"token:{self.principal.token_id}"

    @property
    def actor(self) -> Actor:
        """The same for the audit log."""
        return self.principal.actor("api", self.request.client.host if self.request.client else None)

    def acting(self) -> AbstractAsyncContextManager[Act]:
        """One transaction in the principal's name."""
        return acting(self.api.services, self.actor)

    def require(self, *scopes: Scope) -> None:
        """Forbidden without one of these scopes."""
        self.principal.require(*scopes)

    def require_tenant(self, *scopes: Scope) -> None:
        """For what belongs to the whole tenant: machines with one of these scopes, and administrators; no plain user."""
        if self.only_user is not None:
            raise Forbidden("this belongs to the whole tenant: it needs the scope 'admin'. Ask with such a token.")
        self.principal.require(*scopes)

    def require_person(self, what: str, *scopes: Scope) -> None:
        """For `what` touches databases and files: users and administrators; no plain customer token."""
        if self.principal.user_id is None and not self.principal.is_admin:
            raise Forbidden(f"{what} are for users and for the scope 'admin'. Ask with such a token.")
        self.principal.require(*scopes)

    async def body(self, kind: type[T]) -> tuple[bytes, T]:
        """The body as it came, and as a message.

        Raises:
            Refused: too long, too slow, of another media type.
            InvalidPayload, InvalidInput: not JSON, or not of this type.
        """
        raw = await body_of(self.request)
        text = checked(raw, what="the body", max_bytes=MAX_BODY)
        return raw, typed(text, kind)


def typed(text: str, kind: type[T]) -> T:
    """JSON text that was checked as a message; InvalidInput names the place that does not fit."""
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"the body: {error}.") from None


def has_body(request: Request) -> bool:
    """Whether anything was sent, where nothing need be."""
    return request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers


async def body_of(request: Request) -> bytes:
    """The bytes of a body; b"" for none is refused as JSON later."""
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json":
        raise Refused(415, "unsupported_media_type", f"Content-Type is {media[:80]!r}: send application/json.")
    if (coding := request.headers.get("content-encoding", "identity").strip().lower()) != "identity":
        raise Refused(415, "unsupported_media_type", f"Content-Encoding is {coding[:80]!r}: send the body as it is.")
    pieces, size = [], 0
    request.scope[PATIENT] = True
    try:
        async with asyncio.timeout(BODY_S):
            async for piece in request.stream():
                size += len(piece)
                if size > DISCARDED:
                    raise _too_long(headers={"Connection": "close"})
                if size <= MAX_BODY:
                    pieces.append(piece)
    except TimeoutError:
        raise Refused(408, "body_too_slow", f"the body did not arrive within {BODY_S:g} s.", headers={"Connection": "close"}) from None
    except ClientDisconnect:
        raise Refused(400, "disconnected", "the connection ended amid the body.") from None
    if size > MAX_BODY:
        raise _too_long()
    return b"".join(pieces)


def _too_long(headers: dict[str, str] | None = None) -> Refused:
    return Refused(413, "too_large", f"the body has more than {MAX_BODY} bytes.", headers=headers)
