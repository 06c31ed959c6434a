"""The document of the sockets says what the types say, and the page for people leaves nothing out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trunkline.errors import TrunklineError
from trunkline.wire import CALLS, CODES
from trunkline.wire.asyncapi import CLOSES, asyncapi
from trunkline.wire.following import FOLLOWS, TO_USERS
from trunkline.wire.pushes import TO_TENANT, TO_WORKERS
from trunkline.wire.updates import RECOVERY, UPDATES, WATCHES

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


NAMES = [
    *CALLS,
    *WATCHES,
    *UPDATES,
    *FOLLOWS,
    RECOVERY,
    "authenticate",
    "error",
    "connect_error",
    *(push.event for push in (*TO_WORKERS, *TO_TENANT, *TO_USERS)),
]


@pytest.mark.parametrize("name", sorted(set(NAMES)))
def test_the_page_and_the_document_name_every_event(name):
    """What is missing in either does not exist for whoever writes a client."""
    assert f"`{name}`" in PAGE
    assert name in {message["name"] for message in KEPT["components"]["messages"].values()}


@pytest.mark.parametrize("code", sorted(CODES))
def test_the_document_names_every_code(code):
    """Clients branch on codes."""
    assert issubclass(CODES[code], TrunklineError)
    assert code in KEPT["components"]["schemas"]["Refusal"]["properties"]["code"]["enum"]


def test_every_event_is_one_that_somebody_may_send_or_receive():
    """A message that no operation names would be no part of the protocol; a channel names each close code, as the page does."""
    named = {
        ref["$ref"]
        for operation in KEPT["operations"].values()
        for ref in (*operation["messages"], *operation.get("reply", {}).get("messages", ()))
    }
    offered = {f"#/channels/{name}/messages/{message}" for name, channel in KEPT["channels"].items() for message in channel["messages"]}

    assert offered == named
    assert set(KEPT["components"]["messages"]) == {ref.rpartition("/")[2] for ref in offered}
    assert [] == [
        code
        for code in CLOSES
        for text in (PAGE, *(channel["description"] for channel in KEPT["channels"].values()))
        if str(code) not in text
    ]
