"""The document of the sockets says what the types say, and the page for people leaves nothing out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trunkline.errors import TrunklineError
from trunkline.wire import CALLS, CODES
from trunkline.wire.asyncapi import asyncapi
from trunkline.wire.pushes import TO_TENANT, TO_WORKERS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/protocol.md").read_text("utf-8")
KEPT = json.loads((ROOT / "docs/asyncapi.json").read_text("utf-8"))


def test_the_kept_document_is_the_one_the_types_make():
    """`make asyncapi` writes it again."""
    assert KEPT == asyncapi(KEPT["info"]["version"])


def test_every_reference_leads_somewhere():
    """A reader of the document follows them."""

    def refs(node):
        if isinstance(node, dict):
            if "$ref" in node:
                yield node["$ref"]
            for each in node.values():
                yield from refs(each)
        elif isinstance(node, list):
            for each in node:
                yield from refs(each)

    def lead(ref):
        node = KEPT
        for part in ref.removeprefix("#/").split("/"):
            node = node[part]
        return node

    found = list(refs(KEPT))
    assert len(found) > 100
    assert all(lead(ref) for ref in found)


@pytest.mark.parametrize("name", [*CALLS, *(push.event for push in (*TO_WORKERS, *TO_TENANT))])
def test_the_page_and_the_document_name_every_event(name):
    """What is missing in either does not exist for whoever writes a client."""
    assert f"`{name}`" in PAGE
    assert name in {message["name"] for message in KEPT["components"]["messages"].values()}


@pytest.mark.parametrize("code", sorted(CODES))
def test_the_document_names_every_code(code):
    """Clients branch on codes."""
    assert issubclass(CODES[code], TrunklineError)
    assert code in KEPT["components"]["schemas"]["Refusal"]["properties"]["code"]["enum"]
