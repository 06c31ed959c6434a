"""Speaks to one Bitrix24 portal over its REST API, through an inbound webhook.

Why no client of the shelf: the official one (b24pysdk) sleeps and repeats by itself, per process, where pace must be everybody's; neither it
nor fast-bitrix24 can be told which address to connect to or how much to read at most. What is left of a client are the lines below.
Always true: the address that was checked is the one connected to, while the certificate is compared with the name; no redirect is
followed; an answer is read up to `MOST_BYTES` and within `ANSWER_S`; the webhook's code is in no error; one call is one request.
Needs the extra `crm`. Called by: connections.probe, jobtypes.crm.
"""

from __future__ import annotations

import asyncio
import math
import socket
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any

import aiohttp
import msgspec
from aiohttp.abc import AbstractResolver, ResolveResult

from trunkline.connections.registry import TRIED_AGAIN, Connection
from trunkline.errors import ConnectionFailed
from trunkline.model import Fail

CONNECT_S, ANSWER_S = 10.0, 120.0
MOST_BYTES = 64 * 1024**2
FULL_BUCKET_S = 10.0  # 20 requests of the usual 50 leak out meanwhile
NOT_SAID_S = 60.0  # a wait that the portal asked for without saying how long
LONGEST_WAIT_S = 3600.0
LIMITS = {"QUERY_LIMIT_EXCEEDED": FULL_BUCKET_S, "OPERATION_TIME_LIMIT": NOT_SAID_S}
PASSING = frozenset({"INTERNAL_SERVER_ERROR", "ERROR_UNEXPECTED_ANSWER"})


class Throttled(Exception):
    """The portal asks everybody to wait: too many requests, or a method that worked too long (`code`)."""

    def __init__(self, code: str, seconds: float) -> None:
        super().__init__(f"the portal asks to wait ({code})")
        self.code, self.seconds = code, seconds


class TooLarge(Exception):
    """An answer has more than MOST_BYTES bytes."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a method returned.

    Attributes:
        operating_s: the most that a method of this request has worked in the last ten minutes; it is shut at 480.
        free_in_s: in how many seconds a part of that is forgotten, where the portal said so.
        at: the portal's clock when it began, as it writes times.
        took_s: how long it worked.
    """

    result: Any
    operating_s: float = 0.0
    free_in_s: float | None = None
    at: str | None = None
    took_s: float = 0.0


class Portal:
    """One portal. Use as a context: it holds one HTTP session."""

    def __init__(self, connection: Connection, *, answer_s: float = ANSWER_S, most_bytes: int = MOST_BYTES) -> None:
        self._connection, self._answer_s, self._most_bytes = connection, answer_s, most_bytes
        self._session: aiohttp.ClientSession | None = None
        self._free_in_s: float | None = None

    async def __aenter__(self) -> Portal:
        address = self._connection.address
        connector = aiohttp.TCPConnector(limit=4, keepalive_timeout=5.0, resolver=_Checked(address) if address else None)
        timeout = aiohttp.ClientTimeout(total=self._answer_s, connect=CONNECT_S)
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=False, cookie_jar=aiohttp.DummyCookieJar())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._session is not None:
            await self._session.close()

    async def call(self, method: str, parameters: dict[str, Any] | None = None) -> Answer:
        """Send one request.

        Raises:
            Throttled: wait. Fail: the portal refuses it, and will again. TooLarge: ask for less.
            ConnectionFailed: network, time, or the portal's own faults.
        """
        failure: str | None = None
        try:
            status, body, asked_s = await self._sent(method, parameters or {})
        except TimeoutError:
            failure = f"did not answer within {self._answer_s:g} s"
        except (aiohttp.ClientError, OSError) as error:
            failure = f"cannot be reached, or broke off ({type(error).__name__})"
        if failure is not None:  # outside of the handler: the library's words name the address with its code
            raise ConnectionFailed(f"{self._connection} {failure}.")
        return self._answer(method, status, body, asked_s)

    def refusal(self, method: str, status: int | None, code: str, words: str, asked_s: float | None = None) -> Exception:
        """What to raise for an error that the portal reports; `status` is None for one within a batch."""
        if code in LIMITS or status == 429:
            said_s = self._free_in_s if code == "OPERATION_TIME_LIMIT" else None
            wait_s = asked_s or said_s or LIMITS.get(code, NOT_SAID_S)
            return Throttled(code or "429", _bounded(wait_s))
        told = f"{code or status}{'' if self._names_secret(words) else f': {words}'}"
        what = f"{self._connection}: the portal refuses {method} ({' '.join(told.split())[:300].rstrip('.')})."
        if code in PASSING or (status is not None and (status >= 500 or status in (408, 425)) and code != "OVERLOAD_LIMIT"):
            return ConnectionFailed(f"{what} {TRIED_AGAIN}")
        return Fail(what)

    async def _sent(self, method: str, parameters: dict[str, Any]) -> tuple[int, bytes, float | None]:
        if self._session is None:
            raise RuntimeError("the portal is not opened: use it as a context")
        body = msgspec.json.encode(parameters)
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "trunkline"}
        async with self._session.post(f"{self._connection.url}{method}", data=body, headers=headers, allow_redirects=False) as answer:
            found = bytearray()
            async for part in answer.content.iter_chunked(65536):
                found += part
                if len(found) > self._most_bytes:
                    raise TooLarge(f"{method}: more than {self._most_bytes:,} bytes")
            return answer.status, bytes(found), _seconds(answer.headers.get("retry-after"))

    def _answer(self, method: str, status: int, body: bytes, asked_s: float | None) -> Answer:
        if 300 <= status < 400:
            raise Fail(f"{self._connection}: the portal is elsewhere now (status {status}). Register the webhook with its new address.")
        try:
            said = msgspec.json.decode(body)
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            said = None
        if isinstance(said, dict) and "error" not in said and "result" in said and status < 400:
            answer = _measured(said)
            self._free_in_s = answer.free_in_s or self._free_in_s
            return answer
        if isinstance(said, dict) and "error" in said:
            raise self.refusal(method, status, str(said["error"] or ""), str(said.get("error_description") or ""), asked_s)
        if 200 <= status < 300:
            raise ConnectionFailed(f"{self._connection}: the answer to {method} is no JSON of a portal (status {status}).")
        raise self.refusal(method, status, "", "no JSON", asked_s)

    def _names_secret(self, words: str) -> bool:
        return not words or any(secret in words for secret in self._connection.secrets)


class _Checked(AbstractResolver):
    """Answers every name with the address that was checked."""

    def __init__(self, address: str) -> None:
        self._address = address

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        found = socket.AF_INET6 if ":" in self._address else socket.AF_INET
        return [ResolveResult(hostname=host, host=self._address, port=port, family=found, proto=0, flags=socket.AI_NUMERICHOST)]

    async def close(self) -> None:
        await asyncio.sleep(0)


def _measured(said: dict[str, Any]) -> Answer:
    """With what the portal says of its work: in `time`, and for each command of a batch in `result_time`."""
    result, whole = said["result"], _object(said.get("time"))
    each = [_object(one) for one in _object(_object(result).get("result_time")).values()]
    busiest = max([whole, *each], key=lambda time: _number(time.get("operating")))
    reset_at, now = _number(busiest.get("operating_reset_at")), _number(whole.get("finish"))
    free_in_s = _bounded(reset_at - now) if reset_at and now else None
    return Answer(result, _number(busiest.get("operating")), free_in_s, _moment(whole.get("date_start")), _number(whole.get("duration")))


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}  # PHP writes an empty one as a list


def _moment(value: Any) -> str | None:
    try:
        return value if datetime.fromisoformat(value).tzinfo is not None else None
    except (TypeError, ValueError):
        return None


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0


def _bounded(seconds: float) -> float:
    """What a portal says of a wait, as far as it is believed: 1 s to LONGEST_WAIT_S."""
    return min(max(seconds, 1.0), LONGEST_WAIT_S)


def _seconds(text: str | None) -> float | None:
    try:
        return None if not text or math.isnan(seconds := float(text)) else seconds
    except ValueError:
        return None
