"""Refusals: a sentence and an exit code, never a traceback; bugs keep theirs."""

from __future__ import annotations

import asyncio
import json

import asyncpg
import pytest
import typer

from trunkline.cli.run import carry_out
from trunkline.errors import NotFound


async def _refused() -> None:
    raise NotFound("job 1: there is no such job.")


def test_the_answer_of_the_work_is_handed_on():
    """On whichever loop is installed."""
    assert 7 == carry_out(asyncio.sleep(0, 7))


def test_a_refusal_is_one_sentence_and_exit_code_1(capsys: pytest.CaptureFixture[str]):
    """On standard error."""
    with pytest.raises(typer.Exit) as refused:
        carry_out(_refused())

    assert 1 == refused.value.exit_code
    assert ("", "error: job 1: there is no such job.\n") == tuple(capsys.readouterr())


def test_a_refusal_under_json_is_one_json_line_on_standard_error(capsys: pytest.CaptureFixture[str]):
    """With the stable code, so that a script can decide."""
    with pytest.raises(typer.Exit):
        carry_out(_refused(), as_json=True)

    out, err = capsys.readouterr()
    assert ("", {"error": "job 1: there is no such job.", "code": "not_found"}) == (out, json.loads(err))


def test_what_the_database_refuses_is_a_sentence_too(capsys: pytest.CaptureFixture[str]):
    """A role without rights is no bug of ours."""

    async def forbidden() -> None:
        raise asyncpg.InsufficientPrivilegeError("permission denied for table job")

    with pytest.raises(typer.Exit):
        carry_out(forbidden())

    said = (
        "error: the database refused this (42501: permission denied for table job). Connect as the schema's owner, or as a role that may.\n"
    )
    assert said == capsys.readouterr().err


def test_a_bug_keeps_its_traceback():
    """Hiding it would cost the person who has to mend it."""

    async def broken() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        carry_out(broken())
