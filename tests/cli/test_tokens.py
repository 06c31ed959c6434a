"""`trunkline tokens`."""

from __future__ import annotations

from tests.cli.conftest import Cli
from trunkline.auth import Customers


async def test_a_token_is_printed_once_and_works(cli: Cli, store):
    """Standard output is the token and nothing else."""
    made = await cli("tokens", "create", "--tenant", "acme", "--description", "nightly", "--scope", "send,watch")
    plain = made.out.strip()
    principal = await Customers(store).principal(plain)
    text, document = await cli("tokens", "list", "--tenant", "acme"), (await cli("tokens", "list", "--tenant", "acme", "--json")).json

    assert 0 == made.code and "shown this once" in made.err
    assert ("acme", {"send", "watch"}) == (principal.tenant, set(principal.scopes))
    assert [("nightly", True, ["send", "watch"])] == [(t["description"], t["isLive"], t["scopes"]) for t in document["tokens"]]
    assert plain not in text.out and "nightly" in text.out


async def test_a_token_is_ended(cli: Cli):
    """Once; a second time says so."""
    made = (await cli("tokens", "create", "--json")).json
    first, second = await cli("tokens", "deactivate", made["id"]), await cli("tokens", "deactivate", made["id"], "--json")
    shown = (await cli("tokens", "show", made["id"], "--json")).json

    assert made["token"].startswith("tl_") and f"Token {made['id']} is over.\n" == first.out
    assert {"id": made["id"], "active": False, "changed": False} == second.json
    assert (False, False) == (shown["isActive"], shown["isLive"]) and shown["deactivatedAt"] is not None


async def test_a_token_is_imported_from_standard_input(cli: Cli, store):
    """So that it does not stand in the shell's history; nothing repeats it."""
    answer = await cli("tokens", "import", "-", "--tenant", "acme", "--expires-in", "90d", input="their-old-token\n")

    assert 0 == answer.code and "their-old-token" not in answer.out + answer.err
    assert "acme" == (await Customers(store).principal("their-old-token")).tenant
    shown = (await cli("tokens", "list", "--tenant", "acme")).out
    assert "good" in shown and "expires" in shown


async def test_what_is_wrong_is_said(cli: Cli):
    """In a sentence."""
    scope, short = await cli("tokens", "create", "--scope", "root"), await cli("tokens", "import", "short")
    strange, nobody = await cli("tokens", "show", "x"), await cli("tokens", "deactivate", "0197aaaa-0000-7000-8000-000000000000")

    assert [1, 1, 1, 1] == [answer.code for answer in (scope, short, strange, nobody)]
    assert "need some of send, work, watch, admin" in scope.err and "can be no token" in short.err
    assert "need a UUID" in strange.err and "no such token" in nobody.err


async def test_no_token_yet_is_said_beside_the_answer(cli: Cli):
    """An empty list is empty."""
    answer = await cli("tokens", "list")

    assert (0, "") == (answer.code, answer.out) and "No token yet" in answer.err
