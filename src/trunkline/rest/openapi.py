"""What the OpenAPI document says of a route, made from the types that its code uses.

Schemas stand where they are used, without references: so the routes describe themselves as well in somebody else's application.
Called by: rest.routes, rest.asgi.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
from starlette.responses import Response

from trunkline.rest.examples import EXAMPLES, ID
from trunkline.rest.problems import MEDIA_TYPE, Problem

SAID = {
    304: "You have it already (If-None-Match).",
    401: "No good credential.",
    403: "The credential lacks a scope.",
    404: "There is no such thing, or it is not yours.",
    409: "It stands in the way of what is there: already ended, not retryable, a duplicate, or the same key is under way.",
    413: "The body is too long.",
    415: "The body is of another media type.",
    422: "Something that was sent is refused; `detail` says what.",
    429: "Too many requests, or a quota is used up; see Retry-After.",
    503: "Not now; try again.",
}
IDEMPOTENCY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same request with the same key is carried out once within 24 hours and answered alike.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[\\x21-\\x7e]+$"},
}


def describe(
    answer: type | None,
    *,
    status: int = 200,
    also: dict[int, type] | None = None,
    body: type | None = None,
    example: Any = None,
    sent: Any = None,
    refusals: tuple[int, ...] = (),
    creates: bool = False,
    is_public: bool = False,
) -> dict[str, Any]:
    """Arguments for the decorator of a route.

    Args:
        answer, also: the type of the answer, and of others by status.
        example: of `answer`, where rest.examples has none or this route says something else.
        body, sent: the type of the body and an example of it.
        refusals: statuses besides those that every route may have.
        creates: it takes an Idempotency-Key.
    """
    usual = (() if is_public else (401, 403)) + ((413, 415, 409) if creates else (413, 415) if body is not None else ()) + (422, 429, 503)
    responses: dict[int | str, dict[str, Any]] = {code: _refusal(code) for code in sorted({*refusals, *usual})}
    for code, kind in {status: answer, **(also or {})}.items():
        responses[code] = {
            "description": _summary(kind),
            "content": {"application/json": _media(kind, example if code == status and example is not None else EXAMPLES.get(kind))},
        }
    if body is None and status == 200:
        responses[304] = {"description": SAID[304]}
    extra: dict[str, Any] = {} if is_public else {"security": [{"bearer": []}]}
    if body is not None:
        extra["requestBody"] = {"required": True, "content": {"application/json": _media(body, sent)}}
    if creates:
        extra["parameters"] = [IDEMPOTENCY]
    return {"status_code": status, "responses": responses, "openapi_extra": extra, "response_model": None, "response_class": Response}


@cache
def schema(kind: type) -> dict[str, Any]:
    """The JSON Schema of a type with every reference written out."""
    made = msgspec.json.schema(kind)
    parts = made.pop("$defs", {})

    def inline(node: Any) -> Any:
        if isinstance(node, dict):
            if "$ref" in node:
                return inline(parts[node["$ref"].rpartition("/")[2]])
            return {name: inline(value) for name, value in node.items()}
        return [inline(one) for one in node] if isinstance(node, list) else node

    found = inline(made)
    assert isinstance(found, dict)
    return found


def with_nulls(schema: Any, example: Any) -> Any:
    """An example as it was: FastAPI leaves out what is null, also where it is required."""
    if isinstance(example, list):
        return [with_nulls(schema.get("items", {}), one) for one in example]
    if not isinstance(example, dict):
        return example
    known = schema.get("properties", {})
    shown = {name: with_nulls(known.get(name, {}), value) for name, value in example.items()}
    return {**dict.fromkeys(schema.get("required", ())), **shown}


def _media(kind: type | None, example: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"schema": {} if kind is None else schema(kind)}
    return found if example is None else {**found, "example": example}


def _refusal(status: int) -> dict[str, Any]:
    return {"description": SAID[status], "content": {MEDIA_TYPE: {"schema": schema(Problem)}}}


def _summary(kind: type | None) -> str:
    return "An answer." if kind is None else (kind.__doc__ or "").strip().split("\n")[0]


__all__ = ["ID", "IDEMPOTENCY", "describe", "schema", "with_nulls"]
