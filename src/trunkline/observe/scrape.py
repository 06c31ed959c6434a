"""A port where Prometheus reads: prometheus-client's own server in a thread, for a process without another one.

Called by: doors.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIServer

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Metric


class Everything:
    """What is read at any door: the registry of the application, then the global one, where libraries and Python itself keep theirs."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        """Every metric once; a name that both have is the application's."""
        from prometheus_client import REGISTRY

        names = set()
        for registry in dict.fromkeys((self._registry, REGISTRY)):
            for metric in registry.collect():
                if metric.name not in names:
                    names.add(metric.name)
                    yield metric


class Scrape:
    """A listening port; `close` ends it."""

    def __init__(self, read: Everything, host: str, port: int) -> None:
        """OSError: the address cannot be used."""
        from prometheus_client import start_http_server

        started: tuple[Any, threading.Thread] = start_http_server(port, host, read)
        self._server: WSGIServer = started[0]
        self._thread = started[1]
        self.port: int = self._server.server_port

    def close(self) -> None:
        """Stop listening; blocks until the thread has ended."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
