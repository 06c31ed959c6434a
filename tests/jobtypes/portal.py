"""A local HTTP server that answers as the documentation of Bitrix24's REST API says: pages, batches, limits and errors.

Its bucket, its count of a method's working time, its order of `$result[...]` in a batch and its codes are those of the documentation;
`answer_next` puts an answer in front of them. Times are written in its own zone, +03:00, with whole seconds.
Always true: it listens on loopback only and is gone with its `with` block; `most_in_bucket` is the highest its counter ever was.
"""

from __future__ import annotations

import json
import re
import sqlite3
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl

CODE = "xk3never5shown9"
ZONE = timezone(timedelta(hours=3))
START = datetime(2026, 3, 1, 12, 0, tzinfo=ZONE)
FIELDS = ("id", "title", "opportunity", "opened", "closedate", "updatedTime", "contacts", "ufCrm1_tags")
TABLE = (
    "create table deal (id integer primary key, title varchar(20) not null, opportunity numeric, updated_time timestamp, closedate date)"
)
Raw = tuple[int, dict[str, str], bytes]
Refusal = tuple[int, str, str]


class Refused(Exception):
    def __init__(self, status: int, code: str, words: str) -> None:
        self.status, self.code, self.words = status, code, words


class Portal:
    """`items` are deals by id; `asked` holds the method of each request that the bucket let through."""

    def __init__(self, *, bucket: int = 50, leak: float = 2.0) -> None:
        self.items: dict[int, dict[str, Any]] = {}
        self.asked: list[str] = []
        self.commands = 0
        self.bucket, self.leak, self.most_in_bucket, self.refused = bucket, leak, 0.0, 0
        self.works_s, self.operating = 0.0, 0.0  # what one list costs, and what was worked in the last ten minutes
        self.reset_in_s, self.scopes = 300, ["crm", "user"]
        self.now = START + timedelta(days=30)
        self.on_list: Callable[[int], None] = lambda n: None  # called before the nth list is made
        self.lists = 0
        self._next: list[Raw | Callable[[BaseHTTPRequestHandler], None]] = []
        self._level, self._level_at, self._lock = 0.0, time.monotonic(), threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/rest/1/{CODE}/"

    def __enter__(self) -> Portal:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    def put(self, number: int, *, second: float, title: str | None = None, **fields: Any) -> None:
        """Make or change a deal, `second` seconds behind the start of its time."""
        at = (START + timedelta(seconds=second)).isoformat()
        told = {"title": title or f"Deal {number}", "opportunity": number * 1.5, "opened": "Y", "closedate": "2026-08-25T00:00:00+03:00"}
        self.items[number] = {"id": number, **told, "ufCrm1_tags": ["a", "b"], **fields, "updatedTime": at}

    def answer_next(self, *answers: Any) -> None:
        """What is answered to the next requests, instead: (status, headers, body), or what writes it."""
        self._next += answers

    def _answer(self, path: str, body: bytes) -> Raw:
        with self._lock:
            try:
                return 200, {}, json.dumps(self._carried_out(path, body)).encode()
            except Refused as refused:
                return refused.status, {}, json.dumps({"error": refused.code, "error_description": refused.words}).encode()

    def _carried_out(self, path: str, body: bytes) -> dict[str, Any]:
        found = re.fullmatch(r"/rest/1/([^/]+)/([a-z.]+)", path)
        now = time.monotonic()
        self._level, self._level_at = max(self._level - (now - self._level_at) * self.leak, 0.0), now
        if self._level + 1 > self.bucket:
            self.refused += 1
            raise Refused(503, "QUERY_LIMIT_EXCEEDED", "Too many requests")
        self._level += 1
        self.most_in_bucket = max(self.most_in_bucket, self._level)
        if found is None or found.group(1) != CODE:
            raise Refused(401, "INVALID_CREDENTIALS", "Invalid request credentials")
        method, parameters = found.group(2), json.loads(body or b"{}")
        self.asked.append(method)
        if method == "batch":
            return {"result": self._batch(parameters), "time": self._time(operating=False)}
        return {"result": self._method(method, parameters), "time": self._time()}

    def _method(self, method: str, parameters: dict[str, Any]) -> Any:
        if method == "scope":
            return self.scopes
        if "crm" not in self.scopes:
            raise Refused(401, "insufficient_scope", "The request requires higher privileges than provided by the webhook token")
        if str(parameters.get("entityTypeId")) != "2":
            raise Refused(400, "NOT_FOUND", "Smart process not found")
        if method == "crm.item.fields":
            return {"fields": {name: {"type": "string", "title": name} for name in FIELDS}}
        if method != "crm.item.list":
            raise Refused(404, "ERROR_METHOD_NOT_FOUND", "Method not found!")
        if self.operating > 480:
            raise Refused(429, "OPERATION_TIME_LIMIT", "Method is blocked due to operation time limit")
        self.operating += self.works_s
        self.lists += 1
        self.on_list(self.lists)
        return {"items": self._list(parameters)}

    def _list(self, parameters: dict[str, Any]) -> list[dict[str, Any]]:
        if str(parameters.get("start")) != "-1" or list(parameters["order"].items()) != [("updatedTime", "ASC"), ("id", "ASC")]:
            raise Refused(400, "INVALID_ARG_VALUE", "this stand-in knows one order and no counting")
        fits = [item for item in self.items.values() if _fits(item, parameters.get("filter", {}))]
        fits.sort(key=lambda item: (_time(item["updatedTime"]), item["id"]))
        select = _listed(parameters.get("select"))
        return [{name: value for name, value in item.items() if select is None or name in select} for item in fits[:50]]

    def _batch(self, parameters: dict[str, Any]) -> dict[str, Any]:
        done: dict[str, Any] = {}
        errors: dict[str, Any] = {}
        times: dict[str, Any] = {}
        for name, command in list(parameters["cmd"].items())[:50]:
            method, _, query = command.partition("?")
            self.commands += 1
            try:
                done[name] = self._method(method, _resolved(_nested(query), done))
                times[name] = self._time()
            except Refused as refused:
                errors[name] = {"error": refused.code, "error_description": refused.words}
                if parameters.get("halt"):
                    break
        empty = {"result_total": [], "result_next": []}
        return {"result": done or [], "result_error": errors or [], "result_time": times or [], **empty}  # PHP: an empty one is a list

    def _time(self, *, operating: bool = True) -> dict[str, Any]:
        stamp = self.now.timestamp()
        told = {"start": stamp, "finish": stamp, "duration": 0.01, "date_start": self.now.isoformat(), "date_finish": self.now.isoformat()}
        return {**told, **({"operating": self.operating, "operating_reset_at": stamp + self.reset_in_s} if operating else {})}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        portal = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                made = portal._next.pop(0) if portal._next else portal._answer(self.path, body)
                if callable(made):
                    made(self)
                    return
                status, headers, text = made
                self.send_response(status)
                for name, value in {"content-type": "application/json", "content-length": str(len(text)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST

            def log_message(self, *_: object) -> None: ...

        return Handler


def refusal(status: int, code: str, words: str = "said", **headers: str) -> Raw:
    """An error as the portal writes it."""
    return status, headers, json.dumps({"error": code, "error_description": words}).encode()


def _time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except (TypeError, ValueError):
        raise Refused(400, "INVALID_ARG_VALUE", "Invalid filter: field 'updatedTime' has invalid value") from None


def _fits(item: dict[str, Any], conditions: dict[str, Any]) -> bool:
    tests: list[bool] = []
    for name, value in conditions.items():
        if name == "logic":
            continue
        if isinstance(value, dict):
            tests.append(_fits(item, value))
            continue
        operator, field = re.fullmatch(r"(>=|<=|>|<|=)(\w+)", name).groups()  # type: ignore[union-attr]
        have, want = (_time(item[field]), _time(value)) if field == "updatedTime" else (item[field], int(value))
        tests.append({">=": have >= want, "<=": have <= want, ">": have > want, "<": have < want, "=": have == want}[operator])
    return (any if conditions.get("logic") == "OR" else all)(tests)


def _listed(value: Any) -> list[str] | None:
    return list(value.values()) if isinstance(value, dict) else value


def _nested(query: str) -> dict[str, Any]:
    """As PHP's parse_str."""
    found: dict[str, Any] = {}
    for name, value in parse_qsl(query, keep_blank_values=True, strict_parsing=True):
        head, *rest = re.split(r"\]?\[", name.removesuffix("]"))
        at = found
        for key, below in zip([head, *rest], rest, strict=False):
            at = at.setdefault(key, {})
            assert below
        at[[head, *rest][-1]] = value
    return found


def _resolved(value: Any, done: dict[str, Any]) -> Any:
    """`$result[a][b]` by what was answered; where there is nothing, what was reached, as PHP's own loop leaves it."""
    if isinstance(value, dict):
        return {name: _resolved(one, done) for name, one in value.items()}
    found = re.fullmatch(r"\$result((?:\[\w+\])+)", value)
    if found is None:
        return value
    at: Any = done
    for key in re.findall(r"\[(\w+)\]", found.group(1)):
        try:
            at = at[int(key)] if isinstance(at, list) else at[key]
        except (KeyError, IndexError):
            break
    return at if not isinstance(at, (dict, list)) else json.dumps(at)


def rows(table: Path, what: str = "id, title") -> list[tuple[Any, ...]]:
    with sqlite3.connect(table) as conn:
        found = conn.execute(f"select {what} from deal order by id").fetchall()
    conn.close()
    return found
