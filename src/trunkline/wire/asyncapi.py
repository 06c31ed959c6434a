"""The sockets as an AsyncAPI 3.0 document, made from the very types that read and write them.

Always true: what a type accepts is what the document says; a call, an answer or a push that the types know cannot be missing.
`docs/asyncapi.json` is this document, kept by a test; the gateway's port serves it as `/api/asyncapi.json`. Source of the format:
asyncapi.com, specification 3.0.0.
Called by: make asyncapi, tests, gateway.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from hashlib import sha256
from importlib.metadata import version as installed
from inspect import cleandoc
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from trunkline.wire.answers import ANSWERS
from trunkline.wire.calls import CALLS
from trunkline.wire.following import FOLLOWS, TO_USERS, Follows, Identified
from trunkline.wire.frames import Handshake
from trunkline.wire.pushes import TO_TENANT, TO_WORKERS, Push
from trunkline.wire.refusals import CODES, Refusal
from trunkline.wire.updates import RECOVERY, UPDATES, WATCHES, Recovery, Subscribed

Document = dict[str, Any]
_GATEWAY, _UPDATES, _USERS = "gateway", "updates", "users"


class _Part(NamedTuple):
    """A channel and the messages on it that have types; `answers`: names of schemas by call."""

    channel: str
    calls: Mapping[str, type[Struct]]
    answers: dict[str, tuple[str, ...]]
    pushes: tuple[type[Push], ...]

    def names(self) -> Iterator[str]:
        """The keys of its messages."""
        yield from (_key(self.channel, name) for name in self.calls)
        yield from (_key(self.channel, f"{name}.answer") for name in self.calls)
        yield from (_key(self.channel, f"{push.event}.push") for push in self.pushes)


_PARTS = (
    _Part(_GATEWAY, CALLS, {name: (kind.__name__, "Refusal") for name, kind in ANSWERS.items()}, (*TO_WORKERS, *TO_TENANT)),
    _Part(
        _UPDATES,
        WATCHES,
        {"subscribe:jobs": ("Subscribed",), "unsubscribe:jobs": ("Subscribed",), "history": ("HistoryAnswer",)},
        tuple(UPDATES.values()),
    ),
    _Part(
        _USERS,
        FOLLOWS,
        {"authenticate": ("Identified",), "subscribe:job": ("Follows", "Refusal"), "unsubscribe:job": ("Follows", "Refusal")},
        TO_USERS,
    ),
)
# Close codes of our WebSockets, both doors and both dialects; all others are the protocol's own.
CLOSES = {
    1002: "this is no Socket.IO",
    1007: "a frame is not UTF-8",
    1009: "a frame above 2 MiB, or a message in more than 1,024 pieces",
    1011: "something broke on our side; connect again",
    1012: "the gateway is shutting down; connect again, to any",
    1013: "try later: too many connections, or read faster: too much waited to be sent",
    4401: "not let in, or no longer (`/ws/raw`; Socket.IO says so by `error` or `unauthorized` and a disconnect, or `connect_error`)",
    4408: "the client did not answer a ping in time (Socket.IO)",
}
_SENTENCE = {"type": "string", "description": "A sentence."}
# (channel, action of the gateway, event, payload, what it is): what is neither a call nor a push with a type of its own.
_OTHERS: tuple[tuple[str, str, str, Any, str], ...] = (
    (
        _GATEWAY,
        "receive",
        "authenticate",
        {"$ref": "#/components/schemas/Handshake"},
        "Plain WebSocket without a header: the first message.",
    ),
    (_GATEWAY, "send", "error", _SENTENCE, "Not let in, or no longer: a disconnect follows."),
    (
        _UPDATES,
        "receive",
        "connect",
        {"allOf": [{"$ref": "#/components/schemas/Handshake"}, {"$ref": "#/components/schemas/Recovery"}]},
        "`auth` of the CONNECT packet: `token` (a user's JWT) or `customerToken`, and what is said about recovery.",
    ),
    (
        _USERS,
        "receive",
        "connect",
        {
            "allOf": [
                {"type": "object", "properties": {"token": {"type": "string"}}},
                {"$ref": "#/components/schemas/Recovery"},
            ]
        },
        "`auth` of the CONNECT packet: `token` (a user's JWT), where it is not said by `authenticate`, and what is said about recovery.",
    ),
    *(
        each
        for channel in (_UPDATES, _USERS)
        for each in (
            (
                channel,
                "send",
                "connect",
                {"type": "object", "required": ["sid"], "properties": {"sid": {"type": "string"}, "pid": {"type": "string"}}},
                "Let in. `pid`: this client may recover; the same `pid` that it sent: it has recovered, and what it missed follows.",
            ),
            (channel, "send", RECOVERY, {"type": "string"}, "The offset of a client that may recover, without an event."),
            (channel, "send", "*", {"description": "Any JSON value."}, "What the application broadcasts, under names of its own."),
        )
    ),
    (
        _UPDATES,
        "send",
        "connect_error",
        {"type": "object", "properties": {"message": _SENTENCE, "data": {"type": "object", "properties": {"code": {"type": "string"}}}}},
        "Not let in (packet CONNECT_ERROR).",
    ),
)


def asyncapi(version: str) -> Document:
    """The document for a version of the product."""
    schemas = _schemas()
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Trunkline",
            "version": version,
            "description": "Send jobs, work on them and follow them over sockets. Field names are camelCase, times ISO 8601 UTC, ids UUIDs; "
            "unknown fields are ignored.",
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {"local": {"host": "localhost:3000", "protocol": "ws", "description": "`trunkline gateway`."}},
        "channels": _channels(),
        "operations": _operations(),
        "components": {
            "messages": _messages(),
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": "A tenant token, or a user's JWT."}},
        },
    }


def _schemas() -> Document:
    types: list[type[Struct]] = [kind for part in _PARTS for kind in (*part.calls.values(), *part.pushes)]
    types += [*ANSWERS.values(), Identified, Follows, Subscribed, Handshake, Recovery, Refusal]
    _, schemas = msgspec.json.schema_components(_once(types), schema_hook=_anything, ref_template="#/components/schemas/{name}")
    for schema in schemas.values():
        if "description" in schema:  # a docstring; Python 3.13 takes its indentation away, those before do not
            schema["description"] = cleandoc(schema["description"])
    schemas["Refusal"]["properties"]["code"] = {"type": "string", "enum": sorted(CODES)}
    schemas["HistoryAnswer"] = {
        "title": "HistoryAnswer",
        "type": "array",
        "items": {"anyOf": [_schema(each) for each in UPDATES.values()]},
        "description": "Newest first.",
    }
    return dict(sorted(schemas.items()))


def _once(types: Iterable[type[Struct]]) -> list[type[Struct]]:
    return list(dict.fromkeys(types))


def _anything(kind: type) -> Document:
    if kind is object:
        return {"description": "Any JSON value."}
    raise NotImplementedError(kind)


def _schema(kind: type[Struct]) -> Document:
    return {"$ref": f"#/components/schemas/{kind.__name__}"}


def _summary(kind: type[Struct]) -> str:
    return (kind.__doc__ or "").strip().partition("\n")[0]


def _messages() -> Document:
    found: Document = {}
    for part in _PARTS:
        for name, call in part.calls.items():
            message = found[_key(part.channel, name)] = {"name": name, "summary": _summary(call), "payload": _schema(call)}
            if scopes := getattr(call, "scopes", ()):
                message["description"] = f"Needs the scope {' or '.join(scopes)}."
        for name, schemas in part.answers.items():
            kinds = [{"$ref": f"#/components/schemas/{schema}"} for schema in schemas]
            found[_key(part.channel, f"{name}.answer")] = {"name": "reply", "payload": {"oneOf": kinds} if len(kinds) > 1 else kinds[0]}
        for push in part.pushes:
            found[_key(part.channel, f"{push.event}.push")] = {"name": push.event, "summary": _summary(push), "payload": _schema(push)}
    for channel, action, event, payload, summary in _OTHERS:
        found[_other(channel, action, event)] = {"name": event, "summary": summary, "payload": payload}
    return found


def _other(channel: str, action: str, event: str) -> str:
    return _key(channel, f"{'any' if event == '*' else event}.{'push' if action == 'send' else 'call'}")


def _key(channel: str, name: str) -> str:
    """A message as a key of the document, where no colon may stand; its `name` is the one on the wire. Users' events share names with updates."""
    return f"{channel}.{_plain(name)}" if channel == _USERS else _plain(name)


def _plain(name: str) -> str:
    """A name as a key of the document, where no colon may stand; the message's `name` is the one on the wire."""
    return name.replace(":", ".")


def _channels() -> Document:
    names = {part.channel: list(part.names()) for part in _PARTS}
    for channel, action, event, _, _ in _OTHERS:
        names[channel].append(_other(channel, action, event))
    ends = "Close codes: " + "; ".join(f"{code} {what}" for code, what in CLOSES.items()) + "."
    return {
        _GATEWAY: _channel(
            "/ws",
            "Send jobs and be a worker. Socket.IO v4 on `/ws` (default namespace, `auth` is a Handshake, answers come as acknowledgements); the "
            "same messages over a plain WebSocket on `/ws/raw`, where a text frame is one `{id?, type, data}` or an array of up to 256, "
            "and the answer to an `id` is `{id, type: 'reply', data}`; there the token comes as `Authorization: Bearer` with `?events=false&resume=` "
            f"where wanted, or as the message `authenticate`. {ends}",
            names[_GATEWAY],
        ),
        _UPDATES: _channel(
            "/socket.io",
            "Follow jobs: Socket.IO v4, namespace `/jobs`; answers come as acknowledgements. A client that says `auth: {recovery: true}` gets a string "
            "after the data of each event: the offset that it comes back with; one at the end of `recovery` has no event. After a disconnect by the server "
            f"(packet DISCONNECT: its token is over) a client does not come back by itself. {ends}",
            names[_UPDATES],
        ),
        _USERS: _channel(
            "/socket.io",
            "Users follow their own jobs: Socket.IO v4, default namespace. A client says who it is, in the handshake or by `authenticate`; before that "
            "nothing is answered, and after 10 s it is cut. Answers come as acknowledgements. Recovery as in namespace `/jobs`, for a client whose token is "
            f"in the handshake. After `unauthorized` and the disconnect a client does not come back by itself. {ends}",
            names[_USERS],
        ),
    }


def _channel(address: str, description: str, messages: list[str]) -> Document:
    return {
        "address": address,
        "description": description,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
    }


def _operations() -> Document:
    found: Document = {}
    for part in _PARTS:
        channel = part.channel
        for name in part.calls:
            found[_operation(channel, name)] = {
                **_said("receive", channel, _key(channel, name)),
                "reply": {
                    "channel": {"$ref": f"#/channels/{channel}"},
                    "messages": [_message(channel, _key(channel, f"{name}.answer"))],
                },
            }
        for push in part.pushes:
            found[_operation(channel, f"{push.event}.push")] = _said("send", channel, _key(channel, f"{push.event}.push"))
    for channel, action, event, _, _ in _OTHERS:
        key = _other(channel, action, event)
        found[_operation(channel, key)] = _said(action, channel, key)
    return found


def _operation(channel: str, name: str) -> str:
    return f"{channel}.{_plain(name).removeprefix(f'{channel}.')}"


def _said(action: str, channel: str, key: str) -> Document:
    return {"action": action, "channel": {"$ref": f"#/channels/{channel}"}, "messages": [_message(channel, key)]}


@cache
def served() -> tuple[bytes, bytes]:
    """(The document of the installed version as JSON, its entity tag.)"""
    text = msgspec.json.encode(asyncapi(installed("trunkline")))
    return text, f'"{sha256(text).hexdigest()[:32]}"'.encode()


def _message(channel: str, key: str) -> Document:
    return {"$ref": f"#/channels/{channel}/messages/{key}"}
