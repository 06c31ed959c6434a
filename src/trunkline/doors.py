"""Puts the doors together: who asks (auth), what they reach (gateway), on which port. Part of the composition root (app).

Always true: a door opens only after `auth.prepare` found that it may; whatever a door needs besides the core packages is
imported here, on first use, and its absence is a sentence.
Called by: app.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from trunkline.auth import Customers, Mode, Revocations, mode_of, prepare
from trunkline.engine import Gauges, Hooks, RemoteWork
from trunkline.errors import InvalidSetting
from trunkline.jobtypes import RESERVED
from trunkline.observe.metrics import Metrics
from trunkline.observe.scrape import Everything, Scrape
from trunkline.realtime import CLIENTS, Presence, Stream
from trunkline.store import Signals, Store

if TYPE_CHECKING:
    from fastapi import APIRouter, FastAPI
    from prometheus_client import CollectorRegistry, Metric
    from starlette.types import ASGIApp

    from trunkline.gateway.server import Server
    from trunkline.gateway.services import Services
    from trunkline.gateway.socketio.link import Dialect
    from trunkline.rest import Api
    from trunkline.rest.services import Services as RestServices


def measured(hooks: Hooks, gauges: Gauges) -> Everything:
    """What Prometheus reads, at whichever door: the gauges, what `Metrics` counts (where the application has no such middleware, it
    gets one), and the global registry."""
    from prometheus_client import CollectorRegistry

    if hooks.metrics is None:
        hooks.middleware.insert(0, Metrics(CollectorRegistry()))
    assert hooks.metrics is not None
    served = CollectorRegistry()
    served.register(gauges)
    served.register(_Of(hooks.metrics.registry))
    return Everything(served)


def open_scrape(hooks: Hooks, gauges: Gauges, host: str, port: int) -> Scrape:
    """A port where Prometheus reads.

    Raises:
        InvalidSetting: the address cannot be used.
    """
    gauges.attach()
    try:
        return Scrape(measured(hooks, gauges), host, port)
    except OSError as error:
        raise InvalidSetting(
            f"TRUNKLINE_METRICS_PORT: {host} port {port} cannot be used ({error.strerror or error}). Choose another."
        ) from None


class _Of:
    """The metrics of another registry, not described: they are asked for at each scrape."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        return iter(self._registry.collect())


async def open_gateway(
    services: Services,
    store: Store,
    signals: Signals,
    stream: Stream,
    *,
    host: str | None,
    port: int | None,
    mode: Mode | None,
    is_embedded: bool,
    rest: ASGIApp | None = None,
    shares_port: bool = False,
    hooks: Hooks | None = None,
) -> Server:
    """A gateway that listens. Host, port and mode None: as the settings say.

    Args:
        rest: whatever else the port answers.
        shares_port: other processes listen on it, too.
        hooks: what counts the jobs of remote workers, and who hears of alerts.
    Raises:
        InvalidSetting: the extra is not installed, the address cannot be used, or the test token is live in production.
    """
    try:
        from trunkline.auth.users import Users
        from trunkline.gateway import Gateway
        from trunkline.gateway.following import UserDialect
        from trunkline.gateway.server import Server
        from trunkline.gateway.watchers import Watchers
        from trunkline.gateway.watching import JobsDialect
    except ModuleNotFoundError as error:
        raise InvalidSetting(f"the gateway needs the package {error.name!r}. Install it: pip install 'trunkline[server]'") from error
    settings = services.settings
    mode = mode or mode_of(settings, is_embedded=is_embedded)
    await prepare(store, mode)
    customers, revocations = Customers(store), Revocations(store)
    users, watchers = Users(store, settings).principal, Watchers(services, revocations, stream)
    dialects: dict[str, Dialect] = {
        "/": UserDialect(watchers, users),
        "/jobs": JobsDialect(services, watchers, customers, users=users, anonymous=settings.tenant if mode == "development" else None),
    }
    gateway = Gateway(
        services,
        customers,
        revocations,
        RemoteWork(store, signals, services.sealing, hooks),
        signals.subscribe,
        stream,
        reserved=RESERVED,
    )
    presence = Presence(
        store,
        lambda: gateway.session_id,
        lambda tenant_id, room: gateway.clients(tenant_id) if room == CLIENTS else watchers.rooms.size(tenant_id, room),
    )
    watchers.rooms.changed = presence.changed
    gateway.counted = lambda tenant_id: presence.changed(tenant_id, CLIENTS)
    server = Server(
        gateway,
        watchers,
        dialects,
        host or settings.host,
        settings.port if port is None else port,
        settings,
        rest=rest,
        presence=presence,
        is_development=mode == "development",
        shares_port=shares_port,
    )
    await server.start()
    store.counts.sockets = server.socket_counts()
    return server


def make_api(services: RestServices, signals: Callable[[], Signals], is_embedded: Callable[[], bool]) -> Api:
    """The REST API of an application.

    Raises:
        InvalidSetting: the extra is not installed.
    """
    try:
        from trunkline.rest import Api
    except ModuleNotFoundError as error:
        raise InvalidSetting(f"the API needs the package {error.name!r}. Install it: pip install 'trunkline[server]'") from error

    return Api(services, lambda: signals().subscribe, is_embedded=is_embedded, reserved=RESERVED)


def make_asgi(api: Api, hooks: Hooks, gauges: Gauges) -> FastAPI:
    """Its ASGI application, with /metrics."""
    from prometheus_client import generate_latest

    from trunkline.rest.asgi import application

    read = measured(hooks, gauges)

    async def metrics() -> bytes:
        await gauges.refresh()
        return generate_latest(read)

    return application(api, metrics)


def make_router(api: Api) -> APIRouter:
    """Its routes."""
    from trunkline.rest.routes import router

    return router(api)
