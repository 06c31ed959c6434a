"""`trunkline prompts`."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Cli


async def test_prompts_are_saved_listed_and_shown_by_version(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "greet.txt").write_text("Hello {{ name }}")

    empty = await cli("prompts")
    first = await cli("prompts", "save", "greet", "--json", input="Hi {{ name }}")
    second = await cli("prompts", "save", "greet", str(tmp_path / "greet.txt"), "--system", "Be kind.", "--json")
    listed = await cli("prompts", "list", "--json")
    old = await cli("prompts", "show", "greet", "--version", "1", "--json")
    shown = await cli("prompts", "show", "greet")
    missing, unreadable = await cli("prompts", "show", "greet", "--version", "9"), await cli("prompts", "save", "x", str(tmp_path / "none"))

    assert "No prompt yet" in empty.err
    assert [1, 2] == [first.json["version"], second.json["version"]]
    assert [("greet", 2, "Be kind.")] == [(one["name"], one["version"], one["system"]) for one in listed.json["prompts"]]
    assert "Hi {{ name }}" == old.json["body"]
    assert "Hello {{ name }}" in shown.out
    assert (1, 2) == (missing.code, unreadable.code)
