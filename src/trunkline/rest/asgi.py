"""The whole ASGI application: the routes, health for load balancers, /metrics, CORS, and the OpenAPI document
for programs and for people.

Called by: doors.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match

from trunkline.errors import TrunklineError, Unavailable
from trunkline.rest.api import Api
from trunkline.rest.openapi import with_nulls
from trunkline.rest.page import page, policy
from trunkline.rest.problems import NOTHING_HERE, problem, refusal
from trunkline.rest.route import finished
from trunkline.rest.routes import router

DESCRIPTION = "A PostgreSQL-native job platform. Every refusal is RFC 9457 problem+json with a stable `code`."
READY_WITHIN_S = 5.0  # a probe that hears nothing learns less than one that hears no
EXPOSED = ["ETag", "Retry-After", "Idempotent-Replayed"]


def application(api: Api, metrics: Callable[[], Awaitable[bytes]]) -> FastAPI:
    """An application of its own. It opens the services with the first request, or at its start where it has one.

    `metrics`: what Prometheus reads.
    """

    @asynccontextmanager
    async def alive(_: FastAPI) -> AsyncIterator[None]:
        await api.ready()
        yield
        await api.close()

    routes = router(api)

    async def refuse(request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException) and error.status_code == 405:
            error.headers = {**(error.headers or {}), "Allow": ", ".join(_methods([*routes.routes, *app.routes], request))}
        return finished(request, refusal(error, request))

    app = FastAPI(
        title="Trunkline",
        version=version("trunkline"),
        description=DESCRIPTION,
        openapi_url="/api/openapi.json",
        docs_url=None,  # they would load scripts from elsewhere; ours is rest.page
        redoc_url=None,
        redirect_slashes=False,
        lifespan=alive,
        exception_handlers={HTTPException: refuse, Exception: refuse},
    )
    app.include_router(routes)
    _add_roots(app, api, metrics)
    app.openapi = lambda: document(app)  # type: ignore[method-assign]
    if origins := api.settings.origins_in(is_development=api.mode == "development"):
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "If-None-Match"],
            expose_headers=EXPOSED,
            max_age=600,
        )
    return app


def _methods(routes: Iterable[BaseRoute], request: Request) -> list[str]:
    """What the address takes: each of its methods is a route, and the framework knows those of the first one only."""
    asked = {name: request.scope.get(name, "") for name in ("type", "method", "path", "root_path")}
    found = (route for route in routes if getattr(route, "methods", None) and route.matches(dict(asked))[0] is not Match.NONE)
    return sorted({method for route in found for method in getattr(route, "methods", ())})


def _add_roots(app: FastAPI, api: Api, read: Callable[[], Awaitable[bytes]]) -> None:
    async def healthz(request: Request) -> Response:
        return finished(request, Response(b'{"status":"ok"}', media_type="application/json", headers={"Cache-Control": "no-store"}))

    async def readyz(request: Request) -> Response:
        try:
            async with asyncio.timeout(READY_WITHIN_S):
                await api.ready()
                await api.services.records.ping()
        except TrunklineError as error:
            return finished(request, refusal(error, request))
        except TimeoutError:
            silent = Unavailable(f"the database has not answered for {READY_WITHIN_S:g} s. Ask again.")
            return finished(request, refusal(silent, request))
        return finished(request, Response(b'{"status":"ready"}', media_type="application/json", headers={"Cache-Control": "no-store"}))

    async def metrics(request: Request) -> Response:
        if not _may_scrape(api, request):
            return finished(request, problem(404, "not_found", NOTHING_HERE))
        from prometheus_client import CONTENT_TYPE_LATEST

        return finished(request, Response(await read(), headers={"Content-Type": CONTENT_TYPE_LATEST, "Cache-Control": "no-store"}))

    async def docs(request: Request) -> Response:
        html = page(document(app), str(request.base_url))
        headers = {"Content-Security-Policy": policy(request.headers.get("host", "")), "X-Robots-Tag": "noindex"}
        return finished(request, Response(html, media_type="text/html", headers=headers))

    roots: dict[str, Callable[[Request], Any]] = {"/healthz": healthz, "/readyz": readyz, "/metrics": metrics, "/api/docs": docs}
    for path, endpoint in roots.items():
        app.add_route(path, endpoint, methods=["GET"], include_in_schema=False)


def _may_scrape(api: Api, request: Request) -> bool:
    """Metrics are of all tenants: in production only for whoever has the token that was set for it."""
    token = api.settings.metrics_token
    if token is None:
        return api.mode == "development"
    return hmac.compare_digest(request.headers.get("authorization", "").encode(), f"Bearer {token}".encode())


def document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document."""
    if app.openapi_schema is None:
        made = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        made.setdefault("components", {})["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer", "description": "A customer token, or a user's JWT."}
        }
        for methods in made["paths"].values():
            for method, operation in methods.items():
                if method != "get":
                    operation["responses"].pop("304", None)  # `describe` does not know the method
        made["components"].pop("schemas", None)  # FastAPI's own form of a validation error, which nobody is sent
        app.openapi_schema = msgspec.to_builtins(made)
        for operation in (one for methods in app.openapi_schema["paths"].values() for one in methods.values()):
            for body in operation["responses"].values():
                for media in body.get("content", {}).values():
                    if "example" in media:
                        media["example"] = with_nulls(media["schema"], media["example"])
    return app.openapi_schema
