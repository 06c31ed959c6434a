"""The sockets as an AsyncAPI 3.0 document, made from the very types that read and write them.

Always true: what a type accepts is what the document says; a call, an answer or a push that the types know cannot be missing.
`docs/asyncapi.json` is this document, kept by a test; the gateway's port serves it as `/api/asyncapi.json`. Source of the format:
asyncapi.com, specification 3.0.0.
Called by: make asyncapi, tests, gateway.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from hashlib import sha256
from importlib.metadata import version as installed
from typing import Any

import msgspec
from msgspec import Struct

from trunkline.wire.answers import ANSWERS
from trunkline.wire.calls import CALLS
from trunkline.wire.frames import Handshake
from trunkline.wire.pushes import TO_TENANT, TO_WORKERS, Push
from trunkline.wire.refusals import CODES, Refusal
from trunkline.wire.updates import RECOVERY, UPDATES, WATCHES, Recovery, Subscribed

Document = dict[str, Any]
_WATCH_ANSWERS = {"subscribe:jobs": "Subscribed", "unsubscribe:jobs": "Subscribed", "history": "HistoryAnswer"}
_GATEWAY = "gateway"
_UPDATES = "updates"
# Close codes of our WebSockets, both doors and both dialects; all others are the protocol's own.
CLOSES = {
    1002: "this is no Socket.IO",
    1007: "a frame is not UTF-8",
    1009: "a frame above 2 MiB, or a message in more than 1,024 pieces",
    1011: "something broke on our side; connect again",
    1012: "the gateway is shutting down; connect again, to any",
    1013: "try later: too many connections, or read faster: too much waited to be sent",
    4401: "not let in, or no longer (`/ws/raw`; Socket.IO says so by `error` and a disconnect, or `connect_error`)",
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
        _UPDATES,
        "send",
        "connect",
        {"type": "object", "required": ["sid"], "properties": {"sid": {"type": "string"}, "pid": {"type": "string"}}},
        "Let in. `pid`: this client may recover; the same `pid` that it sent: it has recovered, and what it missed follows.",
    ),
    (
        _UPDATES,
        "send",
        "connect_error",
        {"type": "object", "properties": {"message": _SENTENCE, "data": {"type": "object", "properties": {"code": {"type": "string"}}}}},
        "Not let in (packet CONNECT_ERROR).",
    ),
    (_UPDATES, "send", RECOVERY, {"type": "string"}, "The offset of a client that may recover, without an event."),
    (_UPDATES, "send", "*", {"description": "Any JSON value."}, "What the application broadcasts, under names of its own."),
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
    types: list[type[Struct]] = [*CALLS.values(), *ANSWERS.values(), *TO_WORKERS, *TO_TENANT, *WATCHES.values(), *UPDATES.values()]
    types += [Subscribed, Handshake, Recovery, Refusal]
    _, schemas = msgspec.json.schema_components(_once(types), schema_hook=_anything, ref_template="#/components/schemas/{name}")
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
    for name, call in (*CALLS.items(), *WATCHES.items()):
        scopes = getattr(call, "scopes", ())
        found[name] = {"name": name, "summary": _summary(call), "payload": _schema(call)}
        if scopes:
            found[name]["description"] = f"Needs the scope {' or '.join(scopes)}."
    for name, answer in ANSWERS.items():
        found[f"{name}.answer"] = {"name": "reply", "payload": {"oneOf": [_schema(answer), {"$ref": "#/components/schemas/Refusal"}]}}
    for name, schema in _WATCH_ANSWERS.items():
        found[f"{name}.answer"] = {"name": "reply", "payload": {"$ref": f"#/components/schemas/{schema}"}}
    for group in ((*TO_WORKERS, *TO_TENANT), UPDATES.values()):
        for push in group:
            found[_key(push)] = {"name": push.event, "summary": _summary(push), "payload": _schema(push)}
    for _, action, event, payload, summary in _OTHERS:
        found[_other(action, event)] = {"name": event, "summary": summary, "payload": payload}
    return {_plain(name): message for name, message in found.items()}


def _other(action: str, event: str) -> str:
    return f"{'any' if event == '*' else event}.{'push' if action == 'send' else 'call'}"


def _key(push: type[Push]) -> str:
    return f"{push.event}.push"


def _plain(name: str) -> str:
    """A name as a key of the document, where no colon may stand; the message's `name` is the one on the wire."""
    return name.replace(":", ".")


def _channels() -> Document:
    gateway = [*CALLS, *(f"{name}.answer" for name in CALLS), *(_key(push) for push in (*TO_WORKERS, *TO_TENANT))]
    updates = [*WATCHES, *(f"{name}.answer" for name in WATCHES), *(_key(push) for push in UPDATES.values())]
    for channel, action, event, _, _ in _OTHERS:
        (gateway if channel == _GATEWAY else updates).append(_other(action, event))
    ends = "Close codes: " + "; ".join(f"{code} {what}" for code, what in CLOSES.items()) + "."
    return {
        _GATEWAY: _channel(
            "/ws",
            "Send jobs and be a worker. Socket.IO v4 on `/ws` (default namespace, `auth` is a Handshake, answers come as acknowledgements); the "
            "same messages over a plain WebSocket on `/ws/raw`, where a text frame is one `{id?, type, data}` or an array of up to 256, "
            "and the answer to an `id` is `{id, type: 'reply', data}`; there the token comes as `Authorization: Bearer` with `?events=false&resume=` "
            f"where wanted, or as the message `authenticate`. {ends}",
            gateway,
        ),
        _UPDATES: _channel(
            "/socket.io",
            "Follow jobs: Socket.IO v4, namespace `/jobs`; answers come as acknowledgements. A client that says `auth: {recovery: true}` gets a string "
            "after the data of each event: the offset that it comes back with; one at the end of `recovery` has no event. After a disconnect by the server "
            f"(packet DISCONNECT: its token is over) a client does not come back by itself. {ends}",
            updates,
        ),
    }


def _channel(address: str, description: str, messages: list[str]) -> Document:
    return {
        "address": address,
        "description": description,
        "messages": {_plain(name): {"$ref": f"#/components/messages/{_plain(name)}"} for name in messages},
    }


def _operations() -> Document:
    found: Document = {}
    for channel, calls in ((_GATEWAY, CALLS), (_UPDATES, WATCHES)):
        for name in calls:
            found[f"{channel}.{_plain(name)}"] = {
                "action": "receive",
                "channel": {"$ref": f"#/channels/{channel}"},
                "messages": [_message(channel, name)],
                "reply": {"channel": {"$ref": f"#/channels/{channel}"}, "messages": [_message(channel, f"{name}.answer")]},
            }
    for channel, pushes in ((_GATEWAY, (*TO_WORKERS, *TO_TENANT)), (_UPDATES, tuple(UPDATES.values()))):
        for push in pushes:
            found[f"{channel}.{_plain(_key(push))}"] = {
                "action": "send",
                "channel": {"$ref": f"#/channels/{channel}"},
                "messages": [_message(channel, _key(push))],
            }
    for channel, action, event, _, _ in _OTHERS:
        found[f"{channel}.{_other(action, event)}"] = {
            "action": action,
            "channel": {"$ref": f"#/channels/{channel}"},
            "messages": [_message(channel, _other(action, event))],
        }
    return found


@cache
def served() -> tuple[bytes, bytes]:
    """(The document of the installed version as JSON, its entity tag.)"""
    text = msgspec.json.encode(asyncapi(installed("trunkline")))
    return text, f'"{sha256(text).hexdigest()[:32]}"'.encode()


def _message(channel: str, name: str) -> Document:
    return {"$ref": f"#/channels/{channel}/messages/{_plain(name)}"}
