"""How much one address may hold: sockets, sockets that have not said who they are, and new ones a second.

Always true: what is refused was not accepted, and costs a table lookup; an address that has gone is forgotten. IPv6 addresses
count by their /64, which is what one customer gets. Which address a socket has is the server's business (TRUSTED_PROXIES).
Called by: raw, socketio.engine, server.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable
from dataclasses import dataclass

BURST_S = 10.0  # of the rate may come at once: so many clients behind one address come back together
MOST_UNKNOWN = 5000  # sockets of all addresses together that have not said who they are


@dataclass(slots=True)
class _Address:
    visits: int = 0
    unknown: int = 0
    tokens: float = 0.0
    at: float = 0.0


class Visit:
    """One socket of an address (`client`), from its first byte to its end."""

    def __init__(self, addresses: Addresses, name: str, client: str) -> None:
        self._addresses, self._name, self.client = addresses, name, client
        self._is_known = self._has_left = False

    def known(self) -> None:
        """It said who it is."""
        if not self._is_known and not self._has_left:
            self._is_known = True
            self._addresses._known(self._name)

    def leave(self) -> None:
        """It is gone. Twice is once."""
        if not self._has_left:
            self.known()
            self._has_left = True
            self._addresses._left(self._name)


class Addresses:
    """Every address with a socket, or that had one a moment ago."""

    def __init__(self, most: int, most_unknown: int, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._most_unknown, self._rate, self._clock = most, most_unknown, rate, clock
        self._by_name: dict[str, _Address] = {}
        self._unknown = 0
        self._swept_at = clock()

    def enter(self, client: str) -> Visit | None:
        """A socket from this address comes; None: not now."""
        now, name = self._clock(), _name(client)
        self._sweep(now)
        burst = self._rate * BURST_S
        address = self._by_name.get(name) or self._by_name.setdefault(name, _Address(tokens=burst, at=now))
        address.tokens = min(burst, address.tokens + (now - address.at) * self._rate)
        address.at = now
        if address.tokens < 1 or address.visits >= self._most or address.unknown >= self._most_unknown or self._unknown >= MOST_UNKNOWN:
            return None
        address.tokens -= 1
        address.visits += 1
        address.unknown += 1
        self._unknown += 1
        return Visit(self, name, client)

    @property
    def visits(self) -> int:
        """Sockets of all addresses."""
        return sum(address.visits for address in self._by_name.values())

    def _known(self, name: str) -> None:
        self._by_name[name].unknown -= 1
        self._unknown -= 1

    def _left(self, name: str) -> None:
        self._by_name[name].visits -= 1

    def _sweep(self, now: float) -> None:
        """Forget who has no socket and its whole burst again."""
        if now - self._swept_at >= BURST_S:
            self._swept_at = now
            self._by_name = {name: each for name, each in self._by_name.items() if each.visits or now - each.at < BURST_S}


def _name(client: str) -> str:
    try:
        address = ipaddress.ip_address(client.partition("%")[0])
    except ValueError:
        return client[:64]
    if isinstance(address, ipaddress.IPv6Address):
        return str(address.ipv4_mapped) if address.ipv4_mapped else str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)
