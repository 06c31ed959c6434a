"""Puts the doors together: who asks (auth), what they reach (gateway), on which port. Part of the composition root (app).

Always true: a door opens only after `auth.prepare` found that it may; whatever a door needs besides the core packages is
imported here, on first use, and its absence is a sentence.
Called by: app.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from trunkline.auth import Customers, Mode, Revocations, mode_of, prepare
from trunkline.engine import Gauges, Hooks, RemoteWork
from trunkline.errors import InvalidSetting
from trunkline.gateway.services import Services
from trunkline.jobtypes import RESERVED
from trunkline.observe.metrics import Metrics
from trunkline.observe.scrape import Scrape
from trunkline.realtime import CLIENTS, Presence, Stream
from trunkline.store import Signals, Store

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Metric

    from trunkline.gateway.server import Server


def open_scrape(hooks: Hooks, gauges: Gauges, host: str, port: int) -> Scrape:
    """A port where Prometheus reads the gauges and what `Metrics` counts; where the application has no such middleware, it gets one.

    Raises:
        InvalidSetting: the address cannot be used.
    """
    from prometheus_client import CollectorRegistry

    registry = next((each.registry for each in hooks.middleware if isinstance(each, Metrics)), None)
    if registry is None:
        registry = CollectorRegistry()
        hooks.middleware.insert(0, Metrics(registry))
    gauges.attach()
    served = CollectorRegistry()
    served.register(gauges)
    served.register(_Of(registry))
    try:
        return Scrape(served, host, port)
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
    shares_port: bool = False,
) -> Server:
    """A gateway that listens. Host, port and mode None: as the settings say. `shares_port`: other processes share the port.

    Raises:
        InvalidSetting: the extra is not installed, the address cannot be used, or the test token is live in production.
    """
    try:
        from trunkline.auth.users import Users
        from trunkline.gateway import Gateway
        from trunkline.gateway.server import Server
        from trunkline.gateway.watching import JobsDialect
    except ModuleNotFoundError as error:
        raise InvalidSetting(f"the gateway needs the package {error.name!r}. Install it: pip install 'trunkline[server]'") from error
    settings = services.settings
    mode = mode or mode_of(settings, is_embedded=is_embedded)
    await prepare(store, mode)
    customers, revocations = Customers(store), Revocations(store)
    jobs = JobsDialect(
        services,
        customers,
        revocations,
        stream,
        users=Users(store, settings).principal,
        anonymous=settings.tenant if mode == "development" else None,
    )
    gateway = Gateway(
        services,
        customers,
        revocations,
        RemoteWork(store, signals, services.sealing),
        signals.subscribe,
        stream,
        reserved=RESERVED,
    )
    presence = Presence(
        store,
        lambda: gateway.session_id,
        lambda tenant_id, room: gateway.clients(tenant_id) if room == CLIENTS else jobs.rooms.size(tenant_id, room),
    )
    jobs.rooms.changed = presence.changed
    gateway.counted = lambda tenant_id: presence.changed(tenant_id, CLIENTS)
    server = Server(
        gateway,
        jobs,
        host or settings.host,
        settings.port if port is None else port,
        settings,
        presence=presence,
        is_development=mode == "development",
        shares_port=shares_port,
    )
    await server.start()
    return server
