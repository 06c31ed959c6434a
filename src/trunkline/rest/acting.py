"""What every request that changes something goes through: one transaction with the act, its audit row, and, where there is an
Idempotency-Key, the answer that a repetition gets.

Always true: a repeated request is answered alike for 24 hours and does nothing; one with another body under the same key is refused;
one that comes while the first is under way is refused; a request that failed may be repeated.
Called by: rest.routes.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from starlette.responses import Response

from trunkline.engine import Act
from trunkline.engine.acts import Request as Keyed
from trunkline.errors import InvalidInput
from trunkline.rest.answers import JSON, json_answer
from trunkline.rest.asking import Asked
from trunkline.rest.problems import Refused

_KEY = re.compile(r"[\x21-\x7e]{1,255}")
Work = Callable[[Act], Awaitable[tuple[int, Any]]]


async def once(asked: Asked, route: str, raw: bytes, work: Work, *, kept: Callable[[Any], Any] = lambda answer: answer) -> Response:
    """Carry out a POST that creates.

    Args:
        route: its name, the same in every version.
        raw: its body as it came.
        work: answers (status, body).
        kept: what of the body is kept for a repetition; secrets are not.
    Raises:
        Refused: 409 still_running, 422 key_reused.
    """
    request = await _keyed(asked, route, raw)
    async with asked.acting() as act:
        if request is not None:
            claim = await act.claim(request)
            if claim.word == "running":
                raise Refused(
                    409,
                    "still_running",
                    "a request with this Idempotency-Key is under way. Ask again.",
                    headers={"Retry-After": "1"},
                    retryable=True,
                )
            if claim.word == "other":
                raise Refused(422, "key_reused", "this Idempotency-Key was used with another body. Take a new key for a new request.")
            if claim.word == "answered":
                assert claim.status is not None and claim.answer is not None
                return Response(claim.answer, claim.status, {"Idempotent-Replayed": "true"}, media_type=JSON)
        status, answer = await work(act)
        if request is not None:
            await act.answered(request, status, msgspec.json.encode(kept(answer)).decode())
    return json_answer(answer, status)


class _NotYet(Exception):
    """Undo the claim of `answered_before`."""


async def answered_before(asked: Asked, route: str, raw: bytes) -> Response | None:
    """What a repetition of this request gets; None: `once` is to carry it out.

    For what must not happen in a transaction because it takes long: ask this, do that, then `once`.
    """
    if await _keyed(asked, route, raw) is None:
        return None

    async def not_yet(_: Act) -> tuple[int, Any]:
        raise _NotYet

    try:
        return await once(asked, route, raw, not_yet)
    except _NotYet:
        return None


async def _keyed(asked: Asked, route: str, raw: bytes) -> Keyed | None:
    """Which request it is. Its body is kept as a keyed digest: bodies hold passwords that could be guessed from a plain one."""
    given = asked.request.headers.getlist("idempotency-key")
    if not given:
        return None
    if len(given) > 1 or not _KEY.fullmatch(given[0]):
        raise InvalidInput(f"Idempotency-Key is {given[0][:80]!r}: need one header of 1 to 255 visible ASCII characters.")
    secret = await asked.api.services.records.secret(asked.tenant_id)
    return Keyed(asked.tenant_id, asked.name, route, given[0], hmac.new(secret, raw, hashlib.sha256).digest())
