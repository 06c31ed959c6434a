"""The API as a page for people, made from its OpenAPI document: no script, nothing from elsewhere.

Its policy lets a browser's console, which the page's owner types into, speak to this server and to no other.
Called by: rest.asgi.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html import escape
from typing import Any

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; connect-src 'self' {sockets}; frame-ancestors 'none'"
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1c2733; background: #fff; }
h1 { margin-bottom: 0; } h2 { margin-top: 2rem; text-transform: capitalize; }
code, pre { font: 14px/1.45 ui-monospace, monospace; } pre { background: #f1f4f7; padding: .7rem 1rem; overflow-x: auto; border-radius: 6px; }
details { border-top: 1px solid #dde3e9; padding: .35rem 0; } summary { cursor: pointer; }
summary span { color: #51606f; } b.m { display: inline-block; min-width: 4.2rem; color: #0b5cad; }
@media (prefers-color-scheme: dark) { body { color: #dce4ec; background: #14191f; } pre { background: #1f2730; }
 details { border-color: #2b3540; } summary span { color: #95a3b1; } b.m { color: #6fb4ff; } a { color: #6fb4ff; } }
"""


def policy(host: str) -> str:
    """The Content-Security-Policy of the page; not every browser counts sockets of the same host as its own."""
    is_plain = all(each.isalnum() or each in ".-:[]" for each in host)
    return POLICY.format(sockets=f"ws://{host} wss://{host}" if host and is_plain else "")


def page(document: dict[str, Any], base: str) -> str:
    """HTML. `base`: where the API answers, `http://127.0.0.1:3000`."""
    at = escape(base.rstrip("/"))
    return "".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">',
            f'<link rel="icon" href="data:,"><title>Trunkline API</title><style>{STYLE}</style></head><body>',
            f"<h1>{escape(document['info']['title'])} API</h1><p>{escape(document['info']['version'])} · ",
            f'<a href="{at}/api/openapi.json">OpenAPI</a> · <a href="{at}/api/asyncapi.json">AsyncAPI</a> (the sockets)</p>',
            "<p>Every request carries a token: <code>trunkline tokens create</code> makes one.</p>",
            f'<pre>curl -H "Authorization: Bearer $TOKEN" {at}/api/jobs</pre>',
            *_sections(document),
            "</body></html>",
        ]
    )


def _sections(document: dict[str, Any]) -> Iterator[str]:
    by_tag: dict[str, list[tuple[str, str]]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            by_tag.setdefault((operation.get("tags") or ["other"])[0], []).append((path, _route(method, path, operation)))
    for tag, routes in by_tag.items():
        ordered = sorted(routes, key=lambda each: each[0])  # the collection first; routing has its own order
        yield f"<h2>{escape(tag)}</h2>{''.join(html for _, html in ordered)}"


def _route(method: str, path: str, operation: dict[str, Any]) -> str:
    said = _said(operation.get("description", ""))
    head = f'<summary><b class="m">{method.upper()}</b> <code>{escape(path)}</code> <span>{said}</span></summary>'
    parts = [_parameters(operation), _example("send", operation.get("requestBody", {}))]
    for status, answer in operation["responses"].items():
        parts.append(_example(f"{status}: {answer['description']}", answer) if status < "400" else "")
    refused = ", ".join(status for status in operation["responses"] if status >= "400")
    return f"<details>{head}{''.join(parts)}<p>Refused with {escape(refused)}.</p></details>"


def _parameters(operation: dict[str, Any]) -> str:
    told = [
        f"<li><code>{escape(one['name'])}</code>, {escape(one['in'])}{'' if one.get('required') else ', optional'}. "
        f"{_said(one.get('description', ''))}</li>"
        for one in operation.get("parameters", ())
    ]
    return f"<ul>{''.join(told)}</ul>" if told else ""


def _said(text: str) -> str:
    """A sentence of ours, its names between backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _example(title: str, body: dict[str, Any]) -> str:
    """A body's example; its schema has everything, and is a link away."""
    for kind, content in body.get("content", {}).items():
        shown = content.get("example")
        text = f"<pre>{escape(json.dumps(shown, indent=2, ensure_ascii=False))}</pre>" if shown is not None else ""
        return f"<p>{_said(title)} <code>{escape(kind)}</code></p>{text}"
    return f"<p>{_said(title)}</p>" if body else ""
