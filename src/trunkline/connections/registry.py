"""Turns a `connectionId` into a database URL that only the environment knows.

Always true: the URL comes from TRUNKLINE_CONNECTION_<NAME> and from nowhere else; an id that looks like a URL is
refused without being repeated; neither `str()`, `repr()` nor `masked` of a connection shows its password.
Called by: jobtypes, cli.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import SplitResult, parse_qsl, unquote, unquote_plus, urlencode, urlsplit

from trunkline.errors import InvalidInput, InvalidSetting, NotFound
from trunkline.settings import PREFIX, mask_url

Dialect = Literal["postgresql", "mysql", "sqlite", "bitrix24"]

DIALECTS: dict[str, Dialect] = {
    "postgresql": "postgresql",
    "postgres": "postgresql",
    "mysql": "mysql",
    "sqlite": "sqlite",
    "https": "bitrix24",
    "http": "bitrix24",
}
TRIED_AGAIN = "It is tried again while attempts are left."  # how sentences about what passes end
ACCEPTED = (
    "postgresql://user:password@host:5432/name, mysql://user:password@host:3306/name, sqlite:////folder/file.db, "
    "or the address of a Bitrix24 webhook, https://portal.bitrix24.com/rest/1/code/"
)
WEBHOOK = re.compile(r"/rest/([0-9]{1,10})/([A-Za-z0-9_-]{1,100})/?")
# What ORMs append for themselves; libpq refuses a parameter it does not know.
FOREIGN_PARAMETERS = frozenset({"schema", "pgbouncer", "connection_limit", "pool_timeout"})
LONGEST_ID = 100


@dataclass(frozen=True, slots=True)
class Connection:
    """A registered database, or a CRM's webhook. Hand it around freely: only `url` shows the password, and `repr` leaves it out."""

    id: str
    dialect: Dialect
    url: str = field(repr=False)
    name: str | None = None  # of one that a tenant registered; None: the environment names it
    address: str | None = None  # the checked address that is connected to instead of asking for the host's again

    @property
    def masked(self) -> str:
        """The URL with `***` for every password in it, fit for an error or a log line."""
        if self.dialect == "bitrix24":
            return re.sub(r"(/rest/[0-9]+/)[^/]+", r"\1***", self.url)
        hidden = mask_url(self.url)
        for secret in self.secrets:
            hidden = hidden.replace(f"={secret}", "=***")
        return hidden

    @property
    def secrets(self) -> frozenset[str]:
        """Every password in the URL, as written and as decoded; no message may contain one of them."""
        parts = urlsplit(self.url)
        if self.dialect == "bitrix24":
            return frozenset(found.group(2) for found in [WEBHOOK.fullmatch(parts.path)] if found)
        query = [pair.partition("=") for pair in parts.query.split("&")]
        written = [parts.password or "", *(value for name, _, value in query if "pass" in name.lower())]
        return frozenset(form for text in written if text for form in (text, unquote(text), unquote_plus(text)))

    @property
    def place(self) -> str:
        """Where a person corrects it, for messages."""
        return variable_of(self.id) if self.name is None else f"the connection {self.name!r} (delete it and register it anew)"

    def __str__(self) -> str:
        return f"{self.name or self.id} ({self.masked})"


def resolve(connection_id: str, environ: Mapping[str, str] | None = None) -> Connection:
    """Look `connection_id` up in the environment (or `environ`).

    Args:
        connection_id: 1..100 characters with at least one ASCII letter or digit, for example `shop` or `shop-eu`.
    Raises:
        InvalidInput: The id looks like a URL or cannot name a variable. It is not repeated in the message.
        NotFound: No such connection; the message names the variable to set.
        InvalidSetting: The variable holds something that is not a URL we accept. Its value is not repeated.
    """
    variable = variable_of(connection_id)
    url = (os.environ if environ is None else environ).get(variable, "").strip()
    if not url:
        raise NotFound(
            f"connectionId {connection_id!r} is unknown: none of that id or name is registered (trunkline connections list), and {variable} is "
            f"not set where the worker runs. Register it, or set that to {ACCEPTED}."
        )
    return Connection(connection_id, *checked_url(variable, url))


def checked_url(place: str, url: str) -> tuple[Dialect, str]:
    """The dialect, and the URL without parameters that only ORMs know.

    Args:
        place: where it was written, for messages: a variable, or "url".
    Raises:
        InvalidSetting: It is not a URL we accept. It is not repeated.
    """
    dialect = DIALECTS.get(url.partition("://")[0].lower())  # not urlsplit: its own errors repeat the URL
    if dialect is None:
        raise InvalidSetting(f"{place} has a scheme we cannot read. Write {ACCEPTED}.")
    check = {"sqlite": _checked_path, "bitrix24": _checked_webhook}.get(dialect, _checked_server)
    return dialect, check(place, url)


def variable_of(connection_id: str) -> str:
    """The environment variable that holds the URL of `connection_id`.

    Raises:
        InvalidInput: The id is empty, too long, or looks like a URL or a connection string.
    """
    if re.search(r"://|[@=]|^(?:jdbc|file):", connection_id):
        raise InvalidInput(
            "connectionId looks like a database URL. Send an id such as 'shop' and put the URL into "
            f"{PREFIX}CONNECTION_SHOP where the worker runs; change the password, because payloads are stored."
        )
    if len(connection_id) > LONGEST_ID or not re.search(r"[A-Za-z0-9]", connection_id):
        raise InvalidInput(
            f"connectionId has {len(connection_id)} characters, need 1 to {LONGEST_ID}, "
            "at least one of them a letter or digit, such as 'shop'."
        )
    return f"{PREFIX}CONNECTION_" + re.sub(r"[^A-Z0-9]", "_", connection_id.upper())


def _checked_path(variable: str, url: str) -> str:
    """An SQLite URL with a file in it; a database in memory belongs to another process and is empty here."""
    path = url.partition("://")[2].partition("?")[0]
    if not path.startswith("/") or path.strip("/") in ("", ":memory:"):
        raise InvalidSetting(f"{variable} names no file. Write sqlite:////folder/file.db: four slashes, then the path.")
    return url


def _checked_webhook(variable: str, url: str) -> str:
    """The address of an inbound webhook, without the method that people copy along, and with its slash."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts = None
    host = (parts.hostname or "") if parts else ""
    found = parts and re.match(WEBHOOK.pattern + r"(?:[a-z.]+(?:\.json)?)?/?$", parts.path)
    if not parts or not found or not host or "@" in parts.netloc or parts.query or parts.fragment:
        raise InvalidSetting(
            f"{variable} is no webhook of Bitrix24. Write https://portal.bitrix24.com/rest/1/code/ as the portal shows it."
        )
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme.lower()}://{shown}{f':{port}' if port else ''}/rest/{found.group(1)}/{found.group(2)}/"


def _checked_server(variable: str, url: str) -> str:
    """A server URL whose parts every driver cuts at the same places, without parameters meant for ORMs."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises when it is not a number
    except ValueError:
        parts = None
    # A bare "@", "/", "?" or "#" in a password moves the host into the password or the password into the host.
    if parts is None or url.count("@") != parts.netloc.count("@") or url.count("@") > 1 or parts.fragment:
        raise InvalidSetting(
            f"{variable} cannot be cut into user, password, host and name. "
            "Percent-encode special characters in the user and password: "
            "@ as %40, / as %2F, ? as %3F, # as %23, : as %3A."
        )
    return _without_foreign_parameters(url, parts)


def _without_foreign_parameters(url: str, parts: SplitResult) -> str:
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    kept = [(name, value) for name, value in pairs if name not in FOREIGN_PARAMETERS]
    # Not urlunsplit: it drops the "//" of a URL without a host, and the drivers need it.
    return url if kept == pairs else url.partition("?")[0] + ("?" + urlencode(kept) if kept else "")
