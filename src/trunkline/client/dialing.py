"""Opens a socket and gets in: the address, the token, the first message, and what a refusal means.

Always true: the token is in no text that anybody prints: not in an address, not in a header that a proxy logs, not in an error.
Called by: client.link.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from email.utils import parsedate_to_datetime
from typing import NamedTuple
from urllib.parse import urlsplit, urlunsplit

import msgspec
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_socket
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from trunkline.errors import InvalidInput, RateLimited, TrunklineError, Unauthenticated, Unavailable
from trunkline.wire.pushes import ClientReady

PING_S = 5.0
NOT_LET_IN, LATER = 4401, 1013  # close codes
MOST_BYTES = 64 * 1024 * 1024  # of a frame: an array of up to 256 messages
READY_WITHIN_S = 10.0
PATH = "/ws/raw"
Token = str | Callable[[], str | Awaitable[str]]


class Incoming(msgspec.Struct, frozen=True):
    """One message of the gateway."""

    type: str
    data: msgspec.Raw = msgspec.Raw(b"null")
    id: int | str | None = None


class Entered(NamedTuple):
    """A socket that was let in. `clock_off_s`: how much later the gateway's clock is than ours, good to a second or two."""

    socket: ClientConnection
    ready: ClientReady
    clock_off_s: float


_one, _many = msgspec.json.Decoder(Incoming), msgspec.json.Decoder(list[Incoming])
_ready, _sentence = msgspec.json.Decoder(ClientReady), msgspec.json.Decoder(str)


def messages_of(text: str | bytes) -> list[Incoming]:
    """The messages of a frame, in order."""
    is_array = text[:1] in ("[", b"[")
    return _many.decode(text) if is_array else [_one.decode(text)]


def address(url: str) -> str:
    """Where to connect: ws, wss, http and https are understood; without a path it is `/ws/raw`.

    Raises:
        InvalidInput: it is no such address.
    """
    parts = urlsplit(url)
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    if scheme not in ("ws", "wss") or not parts.hostname:
        raise InvalidInput(f"address {url[:80]!r}: need one such as wss://jobs.example.com or ws://127.0.0.1:3000.")
    return urlunsplit((scheme, parts.netloc, parts.path if parts.path not in ("", "/") else PATH, parts.query, ""))


async def token_now(token: Token) -> str:
    """The token, asked for where it is a function.

    Raises:
        Unavailable: the function failed; it is asked again.
    """
    if isinstance(token, str):
        return token
    try:
        given = token()
        return str(await given if inspect.isawaitable(given) else given)
    except Exception as error:
        raise Unavailable(f"the function that gives the token raised {type(error).__name__}. It is asked again.") from error


async def enter(url: str, token: str, *, events: bool, resume: str | None) -> Entered:
    """A socket on which `client_ready` was said.

    Raises:
        Unauthenticated: the token is not good; coming again with it is of no use.
        RateLimited, Unavailable: not now.
        InvalidInput: there is no gateway at this address.
    """
    try:
        socket = await open_socket(url, compression=None, max_size=MOST_BYTES, ping_interval=PING_S, ping_timeout=PING_S, close_timeout=2)
    except InvalidStatus as error:
        status = error.response.status_code
        kind = InvalidInput if 400 <= status < 500 and status not in (408, 425, 429) else Unavailable
        raise kind(f"{url} answered {status} instead of a WebSocket. Check the address.") from None
    except InvalidURI:
        raise InvalidInput(f"address {url[:80]!r}: need one such as wss://jobs.example.com or ws://127.0.0.1:3000.") from None
    except (OSError, InvalidHandshake, TimeoutError) as error:
        raise Unavailable(f"{url} cannot be reached: {error or type(error).__name__}. Is the gateway up?") from None
    try:
        hello = {"customerToken": token, "events": events, "resume": resume}
        await socket.send(msgspec.json.encode({"type": "authenticate", "data": hello}), text=True)
        return Entered(socket, await _welcome(socket), _clock_off_s(socket))
    except ConnectionClosed:
        await socket.close()
        raise refusal(socket, "") from None
    except BaseException:
        await socket.close()
        raise


async def _welcome(socket: ClientConnection) -> ClientReady:
    """`client_ready`, which comes before anything else, or why not."""
    try:
        async with asyncio.timeout(READY_WITHIN_S):
            first = messages_of(await socket.recv())[0]
            if first.type == "client_ready":
                return _ready.decode(first.data)
            await socket.wait_closed()
    except TimeoutError:
        raise Unavailable("the gateway did not let us in within 10 s. It is tried again.") from None
    except msgspec.DecodeError:
        raise Unavailable("what answered is no gateway of ours. Check the address.") from None
    raise refusal(socket, _sentence.decode(first.data) if first.type == "error" else "")


def refusal(socket: ClientConnection, said: str) -> TrunklineError:
    """What the end of a socket means."""
    sentence = said or socket.close_reason or f"the connection ended (code {socket.close_code})"
    if socket.close_code == NOT_LET_IN:
        return Unauthenticated(sentence)
    return (RateLimited if socket.close_code == LATER else Unavailable)(sentence)


def _clock_off_s(socket: ClientConnection) -> float:
    """By the Date of the upgrade's answer; 0 where a proxy took it away."""
    said = socket.response.headers.get("Date") if socket.response is not None else None
    try:
        return 0.0 if said is None else parsedate_to_datetime(said).timestamp() + 0.5 - time.time()
    except ValueError:
        return 0.0
