"""The example of a plug-in, really installed: built by pip without an index, listed, run by a worker, switched off."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from tests.cli.program import ROOT
from tests.support.until import until


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """PYTHONPATH with a folder into which pip installed the example, from a copy, so that nothing is left in the sources."""
    copy, target = tmp_path_factory.mktemp("source") / "plugin", tmp_path_factory.mktemp("installed")
    shutil.copytree(ROOT / "examples/plugin", copy)
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-index",
        "--no-deps",
        "--no-build-isolation",
    ]
    done = subprocess.run([*pip, "--target", str(target), str(copy)], capture_output=True, text=True, timeout=100)
    assert 0 == done.returncode, done.stderr
    return os.pathsep.join([str(target), str(ROOT / "src"), str(ROOT)])


def listed(path: str, **env: str) -> str:
    """What `trunkline jobtypes list` says in a process that finds the installed packages there."""
    command = [sys.executable, "-m", "trunkline.cli", "jobtypes", "list"]
    return subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path, **env}, capture_output=True, text=True, timeout=60, check=True
    ).stdout


def test_it_is_listed_and_can_be_switched_off(installed):
    """By the name of its entry point and by that of its kind; what is switched off is not imported."""
    on, off, kind = (
        listed(installed),
        listed(installed, TRUNKLINE_JOBTYPES_OFF="acme-text"),
        listed(installed, TRUNKLINE_JOBTYPES_OFF="word-count"),
    )

    assert [" on ", "acme-text 1.0.0", "word-count"] == [word for word in (" on ", "acme-text 1.0.0", "word-count") if word in _row(on)]
    assert " off " in _row(off) and "word-count" not in _row(off)
    assert "not declared: word-count" in _row(kind)


def _row(table: str) -> str:
    return next(line + " " for line in table.splitlines() if line.lstrip().startswith("acme-text"))


async def test_a_worker_runs_its_jobs_without_being_told(installed, cli, start):
    """The application has no line about it; where it is switched off, nobody takes the job."""
    program = start("worker", "tasks:app", "--json", PYTHONPATH=installed)
    program.until('"ready"')
    answer = await cli("enqueue", "word-count", '{"text": "to be or not to be", "top": 1}', "--wait")
    refused = await cli("enqueue", "word-count", '{"text": "to be", "top": 0}', "--wait")

    assert {"words": 6, "top": [["to", 2]]} == answer.json
    assert refused.code != 0 and "top" in refused.err


async def test_where_it_is_switched_off_its_jobs_wait_for_a_handler(installed, cli, start):
    """Nothing is lost: they are deferred and shown."""
    program = start("worker", "tasks:app", "--json", "--queues", "word-count", PYTHONPATH=installed, TRUNKLINE_JOBTYPES_OFF="all")
    program.until('"ready"')
    job_id = (await cli("enqueue", "word-count", '{"text": "to be"}', "--json")).json["id"]

    async def is_deferred() -> bool:
        return bool("no_handler" == (await cli("jobs", "show", job_id, "--json")).json["state"])

    await until(is_deferred, "the job is deferred for want of a handler")
