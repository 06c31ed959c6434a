"""Decides whether a URL that a tenant registered may be connected to, and from then on by which address.

What is refused: loopback, link-local (where clouds keep their metadata), private, reserved and multicast addresses, sockets and
files of this host; and parameters that would make the driver read files or environments of ours.
Always true: the rule is applied to the addresses that the name resolves to now, to every one of them, and the answer carries the
address to connect to, so a name that changes its mind afterwards changes nothing; TRUNKLINE_CONNECTION_HOSTS widens the rule by
names, networks and folders, and nothing else does but development mode, which allows loopback.
Called by: connections.service.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from trunkline.connections.registry import Connection
from trunkline.errors import ConnectionFailed, HostRefused, InvalidSetting

Address = IPv4Address | IPv6Address
PORTS = {"postgresql": 5432, "mysql": 3306, "bitrix24": 443}
RESOLVE_S = 10.0
# Parameters of a URL that cannot lead to a file, another host or somebody else's secrets.
PARAMETERS = {
    "postgresql": frozenset({"sslmode", "sslrootcert", "channel_binding", "host", "port"}),
    "mysql": frozenset({"charset"}),
    "sqlite": frozenset[str](),
    "bitrix24": frozenset[str](),
}
CARRIERS = (IPv6Network("64:ff9b::/96"), IPv6Network("2002::/16"), IPv6Network("2001::/32"))  # an IPv4 address travels inside
SETTING = "TRUNKLINE_CONNECTION_HOSTS"


class Guard:
    """The rule of one process."""

    def __init__(self, allowed: str, *, loopback: bool = False) -> None:
        """`allowed`: comma list of host names, addresses or networks, and folders (of sockets and SQLite files).

        Raises:
            InvalidSetting: an entry with a slash is neither a network nor a folder.
        """
        entries = [entry.strip().lower() if not entry.strip().startswith("/") else entry.strip() for entry in allowed.split(",")]
        self._loopback = loopback
        self._folders = [Path(entry).resolve() for entry in entries if entry.startswith("/")]
        self._networks, self._names = [], set[str]()
        for entry in filter(None, entries):
            if entry.startswith("/"):
                continue
            try:
                self._networks.append(ip_network(entry, strict=False))
            except ValueError:
                if "/" in entry:
                    raise InvalidSetting(f"{SETTING} names {entry!r}: need a host, a network such as 10.0.0.0/8, or a folder.") from None
                self._names.add(entry.rstrip("."))

    async def admitted(self, connection: Connection) -> Connection:
        """The same connection with the address to use.

        Raises:
            HostRefused: it leads where it must not; says why, and by which setting it may.
            ConnectionFailed: its name could not be resolved now.
        """
        _checked_parameters(connection)
        if connection.dialect == "sqlite":
            self._check_path(connection, Path(connection.url.partition("://")[2].partition("?")[0][1:]), "a file")
            return connection
        parts = urlsplit(connection.url)
        host = _host(connection)
        if host.startswith("/"):
            self._check_path(connection, Path(host), "a socket")
            return connection
        found = await _addresses(connection, host, parts.port or PORTS[connection.dialect])
        if host.lower().rstrip(".") not in self._names and not all(map(self._is_allowed, found)):
            raise HostRefused(  # without the address: what our names stand for is nobody's business
                f"{connection} leads to an address of this host or of a private network, and registered databases must be elsewhere. "
                f"{SETTING} allows hosts by name, or networks such as 10.0.0.0/8."
            )
        if parts.scheme == "http" and not found[0].is_loopback:
            raise HostRefused(f"{connection} would send the webhook's code over the network for everybody to read. Write https.")
        return replace(connection, address=str(found[0]))

    def _is_allowed(self, address: Address) -> bool:
        if any(address in network for network in self._networks if network.version == address.version):
            return True
        inner = _inner(address)
        if inner is not None:
            return self._is_allowed(inner)
        return (self._loopback and address.is_loopback) or (address.is_global and not address.is_multicast)

    def _check_path(self, connection: Connection, path: Path, what: str) -> None:
        if not any(path.resolve().is_relative_to(folder) for folder in self._folders):
            raise HostRefused(f"{connection} is {what} of this host. {SETTING} allows folders: name the one it is in.")


def _inner(address: Address) -> IPv4Address | None:
    """The IPv4 address that this one stands for, where it does."""
    if isinstance(address, IPv4Address):
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in CARRIERS[0] or (int(address) >> 32 == 0 and int(address) > 1):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.sixtofour if address in CARRIERS[1] else address.teredo[1] if address in CARRIERS[2] and address.teredo else None


def _checked_parameters(connection: Connection) -> None:
    pairs = parse_qsl(urlsplit(connection.url).query, keep_blank_values=True)
    given = {name for name, _ in pairs}
    if any(name == "sslrootcert" and value != "system" for name, value in pairs):
        raise HostRefused("the URL names a certificate file, and may name none: sslrootcert=system takes those that the host trusts.")
    if strange := sorted(given - PARAMETERS[connection.dialect]):
        accepted = ", ".join(sorted(PARAMETERS[connection.dialect])) or "none"
        raise HostRefused(f"the URL has the parameter {strange[0][:40]!r}, and a registered one may have: {accepted}. Leave it out.")


def _host(connection: Connection) -> str:
    """The one host of the URL, or its socket folder."""
    parts = urlsplit(connection.url)
    behind = [value for name, value in parse_qsl(parts.query) if name == "host"]
    hosts = [*([unquote(parts.hostname)] if parts.hostname else []), *behind]
    if len(hosts) != 1 or "," in parts.netloc or "," in hosts[0] or (behind and not behind[0].startswith("/")):
        raise HostRefused("the URL must name one host, in the place between @ and the port.")
    return hosts[0]


async def _addresses(connection: Connection, host: str, port: int) -> list[Address]:
    try:
        async with asyncio.timeout(RESOLVE_S):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, TimeoutError):
        raise ConnectionFailed(f"{connection}: the host name cannot be resolved now. Check it, or try again.") from None
    return [ip_address(str(sockaddr[0]).partition("%")[0]) for *_, sockaddr in found]
