"""`trunkline connections`, from registering a file to its schema."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from tests.cli.conftest import Cli


async def test_a_database_is_added_listed_rebuilt_and_deleted(cli: Cli, tmp_path: Path) -> None:
    """The URL comes by standard input and is never shown whole."""
    with sqlite3.connect(tmp_path / "shop.db") as db:
        db.execute("create table t (id integer)")
    db.close()
    env = {"TRUNKLINE_ENCRYPTION_KEYS": "A" * 43 + "=", "TRUNKLINE_CONNECTION_HOSTS": str(tmp_path)}

    refused = await cli("connections", "add", "shop", input=f"sqlite:///{tmp_path}/shop.db\n")
    added = await cli("connections", "add", "shop", "--json", input=f"sqlite:///{tmp_path}/shop.db\n", **env)
    listed = await cli("connections", "list", "--json")
    first, second = [await cli("connections", "rebuild", name, "--json") for name in ("shop", added.json["id"])]
    unread = await cli("connections", "schema", "shop")
    unchanged = await cli("connections", "diff", "shop")
    gone = await cli("connections", "delete", "shop")

    assert (1, True) == (refused.code, "TRUNKLINE_ENCRYPTION_KEYS" in refused.err)
    assert [added.json] == listed.json["connections"]
    assert (first.json["jobId"], True, False) == (second.json["jobId"], first.json["created"], second.json["created"])
    assert (1, 1) == (unread.code, unchanged.code)
    assert "not read yet" in unread.sentence
    assert (0, "No database") == (gone.code, (await cli("connections")).err[:11])
