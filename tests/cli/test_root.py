"""The command line as a whole."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.cli.conftest import Offline
from tests.cli.program import environment

COMMANDS = [
    [],
    ["up"],
    ["worker"],
    ["migrate"],
    ["enqueue"],
    ["jobs"],
    *(["jobs", name] for name in ("list", "show", "watch", "cancel", "retry", "reschedule", "reprioritize")),
    ["queues"],
    *(["queues", name] for name in ("list", "pause", "resume")),
    ["schedules"],
    *(["schedules", name] for name in ("list", "create", "show", "pause", "resume", "delete", "run")),
    ["templates"],
    *(["templates", name] for name in ("list", "save", "show", "delete")),
    ["limits"],
    *(["limits", name] for name in ("list", "set", "remove", "block", "unblock", "pause", "resume", "quota", "skip")),
    ["dead-letters"],
    *(["dead-letters", name] for name in ("list", "redrive")),
    ["doctor"],
    ["config"],
    ["config", "show"],
    ["version"],
]
HEAVY = (
    "asyncpg",
    "pydantic",
    "structlog",
    "sqlalchemy",
    "uvloop",
    "trunkline.app",
    "trunkline.store",
    "trunkline.engine",
    "trunkline.measure",
)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(offline: Offline, command: list[str]):
    """With -h and with --help, and without a database."""
    short, long = offline(*command, "-h"), offline(*command, "--help")

    assert (0, 0, "") == (short.code, long.code, short.err)
    assert "Usage: trunkline" in short.out and short.out == long.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["enqueue", "work", "--priority", "-1"], "Invalid value for '--priority': '-1': need greater than or equal to 0."),
        (["jobs", "list", "--limit", "many"], "Invalid value for '--limit': 'many': need a valid integer"),
        (["jobs", "list", "--state", "lost"], "Invalid value for '--state': 'lost' is not one of 'queued', 'scheduled'"),
    ],
    ids=lambda value: value[-2] if isinstance(value, list) else "",
)
def test_wrong_usage_names_the_value_and_what_is_accepted(offline: Offline, arguments: list[str], said: str):
    """Those of ranges and types come from a library, and left the value out."""
    answer = offline(*arguments)

    assert 2 == answer.code and said in answer.sentence


def test_help_imports_nothing_heavy():
    """That is why it answers at once; a time would depend on the machine."""
    code = f"import sys, trunkline.cli.root; print([name for name in {HEAVY!r} if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)

    assert "[]\n" == answer.stdout


def test_an_unknown_command_is_wrong_usage(offline: Offline):
    """With the one that was meant."""
    answer = offline("job", "list")

    assert (2, "") == (answer.code, answer.out)
    assert "jobs" in answer.err


@pytest.mark.parametrize("arguments", [["-m", "trunkline.cli"], ["-c", "from trunkline.cli import main; main()"]])
def test_there_are_two_ways_in(arguments: list[str]):
    """The installed command calls main; the module serves where scripts are not on the PATH."""
    answer = subprocess.run([sys.executable, *arguments, "--version"], env=environment(), capture_output=True, text=True, check=False)

    assert (0, "trunkline 0.1.0\n") == (answer.returncode, answer.stdout)


def test_a_reader_that_goes_away_costs_no_traceback():
    """`trunkline migrate --print | head -1`."""
    with subprocess.Popen(
        [sys.executable, "-m", "trunkline.cli", "migrate", "--print"],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        complaint = process.stderr.read()

    assert "" == complaint
