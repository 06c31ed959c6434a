"""The way of every request: who asks, how often, the endpoint, and the answer with its headers; whatever is raised is a problem+json.

It is a route class and no middleware, so that it holds as well in somebody else's application.
Always true: nothing that a request carries raises past it.
Called by: rest.routes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any, TypeVar

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from trunkline.model.trace import continuing
from trunkline.rest.api import Api
from trunkline.rest.asking import Asked
from trunkline.rest.problems import refusal

F = TypeVar("F", bound=Callable[..., Any])
SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-site",
}
_STACK = "fastapi_middleware_astack"  # made by FastAPI's application; absent where the router stands in another framework


def public(endpoint: F) -> F:
    """An endpoint that needs no credential."""
    endpoint.is_public = True  # type: ignore[attr-defined]
    return endpoint


def door(api: Api) -> type[APIRoute]:
    """The route class of one API."""

    class Door(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            endpoint = super().get_route_handler()
            is_public = getattr(self.endpoint, "is_public", False)

            async def handle(request: Request) -> Response:
                try:
                    if not is_public:
                        await api.ready()
                        request.state.asked = Asked(api, request, await api.principal(request))
                    async with AsyncExitStack() as stack:
                        request.scope.setdefault(_STACK, stack)
                        with continuing(request.headers.get("traceparent")):
                            response = await endpoint(request)
                except Exception as error:  # noqa: BLE001 - the last one before the client
                    response = refusal(error, request)
                return finished(request, response)

            return handle

    return Door


def asked_of(request: Request) -> Asked:
    """Who makes this request."""
    found = request.state.asked
    assert isinstance(found, Asked)
    return found


def finished(request: Request, response: Response) -> Response:
    """The answer with the headers that every answer has; 304 where the caller has it already."""
    for name, value in SECURITY.items():
        response.headers.setdefault(name, value)
    response.headers.setdefault("Cache-Control", "private, no-cache")
    if request.method == "GET" and response.status_code == 200:
        if "etag" not in response.headers:
            response.headers["ETag"] = f'"{hashlib.sha256(bytes(response.body)).hexdigest()[:32]}"'
            response.headers["Vary"] = "Authorization"
        if _has(request.headers.get("if-none-match", ""), response.headers["ETag"]):
            kept = {name: response.headers[name] for name in ("ETag", "Vary", "Cache-Control", *SECURITY) if name in response.headers}
            return Response(status_code=304, headers=kept)
    return response


def _has(listed: str, tag: str) -> bool:
    return listed.strip() == "*" or tag in (part.strip().removeprefix("W/") for part in listed[:4096].split(","))
