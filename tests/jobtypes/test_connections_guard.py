"""Where a registered URL may lead: by the addresses its name has now, and to no other afterwards."""

from __future__ import annotations

import asyncio
import ipaddress
from pathlib import Path

import pytest

from trunkline.connections import Connection
from trunkline.connections.guard import Guard
from trunkline.errors import ConnectionFailed, HostRefused, InvalidSetting


def registered(url: str) -> Connection:
    return Connection("7", url.partition(":")[0], url, name="shop")  # type: ignore[arg-type]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What names resolve to; an address resolves to itself, and the rest to nothing."""
    known: dict[str, list[str]] = {}

    async def getaddrinfo(self: object, host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        if host not in known:
            try:
                known[host] = [str(ipaddress.ip_address(host))]
            except ValueError:
                raise OSError(f"no {host}") from None
        return [(None, None, None, "", (address, port)) for address in known[host]]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", getaddrinfo)
    return known


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "224.0.0.1"),
        *("::1", "::", "fe80::1", "fd00:ec2::254", "ff02::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1"),
        *("64:ff9b::a9fe:a9fe", "2002:7f00:1::", "::10.0.0.1", "240.0.0.1", "198.18.0.1"),
    ],
)
async def test_addresses_inside_are_refused_and_not_repeated(address: str, names: dict[str, list[str]]) -> None:
    names["db.example.com"] = [address]

    with pytest.raises(HostRefused, match="TRUNKLINE_CONNECTION_HOSTS") as refused:
        await Guard("").admitted(registered("postgresql://u:p@db.example.com/shop"))

    assert f"{address}," not in str(refused.value)


async def test_one_bad_address_among_good_ones_refuses_the_name(names: dict[str, list[str]]) -> None:
    names["db.example.com"] = ["93.184.216.34", "10.0.0.1"]

    with pytest.raises(HostRefused):
        await Guard("").admitted(registered("mysql://u:p@db.example.com/shop"))


async def test_the_address_that_was_checked_is_the_one_that_is_used(names: dict[str, list[str]]) -> None:
    names["db.example.com"] = ["93.184.216.34"]

    admitted = await Guard("").admitted(registered("postgresql://u:p@db.example.com/shop"))
    names["db.example.com"] = ["127.0.0.1"]

    assert "93.184.216.34" == admitted.address


@pytest.mark.parametrize(
    ("allowed", "host", "address"),
    [
        ("10.0.0.0/8", "db.example.com", "10.1.2.3"),
        ("other, DB.example.com", "db.example.com", "10.1.2.3"),
        ("fd00::/8,10.0.0.0/8", "db.example.com", "fd00::7"),
        ("192.168.1.7", "192.168.1.7", "192.168.1.7"),
        ("10.0.0.0/8", "db.example.com", "::ffff:10.0.0.1"),
    ],
)
async def test_the_setting_allows_by_name_and_network(allowed: str, host: str, address: str, names: dict[str, list[str]]) -> None:
    names[host] = [address]

    admitted = await Guard(allowed).admitted(registered(f"postgresql://u:p@{host}/shop"))

    assert ipaddress.ip_address(address) == ipaddress.ip_address(admitted.address or "")


async def test_development_allows_loopback_and_nothing_else(names: dict[str, list[str]]) -> None:
    guard = Guard("", loopback=True)

    assert "127.0.0.1" == (await guard.admitted(registered("postgresql://u:p@127.0.0.1/shop"))).address
    with pytest.raises(HostRefused):
        await guard.admitted(registered("postgresql://u:p@169.254.169.254/shop"))


@pytest.mark.parametrize(
    "url",
    [
        *("postgresql://u:p@a.example,b.example/shop", "postgresql://u:p@/shop", "postgresql://u:p@93.184.216.34/shop?hostaddr=127.0.0.1"),
        *("postgresql://u:p@93.184.216.34/shop?host=127.0.0.1", "postgresql://u:p@/shop?host=127.0.0.1", "postgresql:///shop?service=own"),
        *("postgresql://u:p@93.184.216.34/shop?passfile=/etc/passwd", "postgresql://u:p@93.184.216.34/shop?sslkey=/etc/key"),
        "postgresql://u:p@93.184.216.34/shop?sslmode=verify-full&sslrootcert=/etc/passwd",
        *("mysql://u:p@93.184.216.34/shop?unix_socket=/run/s", "mysql://u:p@93.184.216.34/shop?read_default_file=/etc/my.cnf"),
        *("mysql://u:p@93.184.216.34/shop?local_infile=1", "postgresql://u:p@/shop?host=/run/postgresql", "postgresql://u@%2Frun/shop"),
        *("sqlite:////etc/passwd", "sqlite:////allowed/../etc/passwd", "sqlite:////etc/x.db?mode=rw"),
    ],
)
async def test_what_would_lead_elsewhere_is_refused(url: str, names: dict[str, list[str]]) -> None:
    with pytest.raises(HostRefused):
        await Guard("/allowed").admitted(registered(url))


async def test_a_folder_in_the_setting_allows_its_sockets_and_files(tmp_path: Path) -> None:
    guard, link = Guard(str(tmp_path)), tmp_path / "link.db"
    link.symlink_to("/etc/passwd")

    await guard.admitted(registered(f"postgresql://u:p@/shop?host={tmp_path}"))
    await guard.admitted(registered("postgresql://u:p@93.184.216.34/shop?sslmode=verify-full&sslrootcert=system"))
    await guard.admitted(registered(f"sqlite:///{tmp_path}/shop.db"))

    with pytest.raises(HostRefused):
        await guard.admitted(registered(f"sqlite:///{link}"))


async def test_a_name_without_an_address_may_have_one_later(names: dict[str, list[str]]) -> None:
    with pytest.raises(ConnectionFailed, match="cannot be resolved"):
        await Guard("").admitted(registered("postgresql://u:secret@nowhere.example/shop"))


def test_an_entry_that_is_nothing_is_named() -> None:
    with pytest.raises(InvalidSetting, match=r"10\.0\.0\.0/99"):
        Guard("10.0.0.0/99")
