"""Puts the doors together: who asks (auth), what they reach (gateway), on which port. Part of the composition root (app).

Always true: a door opens only after `auth.prepare` found that it may; whatever a door needs besides the core packages is
imported here, on first use, and its absence is a sentence.
Called by: app.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from trunkline.auth import Customers, Mode, Revocations, mode_of, prepare
from trunkline.engine import RemoteWork
from trunkline.errors import InvalidSetting
from trunkline.gateway.services import Services
from trunkline.jobtypes import RESERVED
from trunkline.store import Signals, Store

if TYPE_CHECKING:
    from fastapi import APIRouter, FastAPI
    from starlette.types import ASGIApp

    from trunkline.gateway.server import Server
    from trunkline.rest import Api
    from trunkline.rest.services import Services as RestServices


async def open_gateway(
    services: Services,
    store: Store,
    signals: Signals,
    *,
    host: str | None,
    port: int | None,
    mode: Mode | None,
    is_embedded: bool,
    rest: ASGIApp | None = None,
) -> Server:
    """A gateway that listens. Host, port and mode None: as the settings say. `rest`: whatever else the port answers.

    Raises:
        InvalidSetting: the extra is not installed, the address cannot be used, or the test token is live in production.
    """
    try:
        from trunkline.gateway import Gateway
        from trunkline.gateway.server import Server
    except ModuleNotFoundError as error:
        raise InvalidSetting(f"the gateway needs the package {error.name!r}. Install it: pip install 'trunkline[server]'") from error
    settings = services.settings
    await prepare(store, mode or mode_of(settings, is_embedded=is_embedded))
    gateway = Gateway(
        services, Customers(store), Revocations(store), RemoteWork(store, signals, services.sealing), signals.subscribe, reserved=RESERVED
    )
    server = Server(gateway, host or settings.host, settings.port if port is None else port, rest=rest, proxies=settings.proxies)
    await server.start()
    return server


def make_api(
    services: RestServices, signals: Callable[[], Signals], is_embedded: Callable[[], bool], server: Callable[[], Server | None]
) -> Api:
    """The REST API of an application.

    Raises:
        InvalidSetting: the extra is not installed.
    """
    try:
        from trunkline.rest import Api
    except ModuleNotFoundError as error:
        raise InvalidSetting(f"the API needs the package {error.name!r}. Install it: pip install 'trunkline[server]'") from error

    def clients() -> int:
        found = server()
        return 0 if found is None else found.gateway.connections

    return Api(services, lambda: signals().subscribe, is_embedded=is_embedded, reserved=RESERVED, clients=clients)


def make_asgi(api: Api) -> FastAPI:
    """Its ASGI application."""
    from trunkline.rest.asgi import application

    return application(api)


def make_router(api: Api) -> APIRouter:
    """Its routes."""
    from trunkline.rest.routes import router

    return router(api)
