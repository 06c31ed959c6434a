"""Commands asked in this process (`cli`) and as processes of their own (`start`), on the test's database."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from typer.testing import CliRunner

from tests.cli.program import Program, environment
from tests.support.queue import Queue
from trunkline.cli.root import root
from trunkline.model import JobView

TASKS = """
import asyncio
from pathlib import Path
from trunkline import Fail, Job, Trunkline

app = Trunkline()
not_an_app = object()

@app.job("greet")
async def greet(name: str = "you") -> dict:
    return {"hello": name}

@app.job("fails")
async def fails() -> None:
    raise Fail("it is \\x1b[31mbroken")

@app.job("gated")
async def gated(job: Job, gate: str) -> dict:
    await job.progress(40, "at the gate")
    job.log("waiting", gate=1)
    while not Path(gate).exists():
        await asyncio.sleep(0.02)
    return {"through": True}

@app.job("deaf")
def deaf(gate: str) -> None:
    import time
    print("deaf runs", flush=True)
    while not Path(gate).exists():
        time.sleep(0.02)
"""


@dataclass(frozen=True)
class Answer:
    """What a command said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as one JSON document."""
        return json.loads(self.out)

    @property
    def sentence(self) -> str:
        """Standard error as one line, without the frame around wrong usage."""
        return " ".join(re.sub(r"[│╭╮╰╯─]", " ", self.err).split())

    @property
    def lines(self) -> list[Any]:
        """Standard output as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]


Cli = Callable[..., Awaitable[Answer]]
Offline = Callable[..., Answer]
Start = Callable[..., Program]


@pytest.fixture
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of ours, and no terminal's width."""
    for name in list(os.environ):
        if name not in environment():
            monkeypatch.delenv(name)


@pytest.fixture
def offline(bare_environment: None) -> Callable[..., Answer]:
    """Run a command in this process without a database; standard output and error apart."""

    def run(*arguments: str, input: str | None = None, **env: str) -> Answer:
        result = CliRunner().invoke(root, list(arguments), input=input, env=env, prog_name="trunkline")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Answer(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture
def cli(offline: Callable[..., Answer], trunkline_url: str) -> Cli:
    """Await a command on the test's database. A thread of its own, as it runs a loop of its own."""

    async def ask(*arguments: str, input: str | None = None, **env: str) -> Answer:
        return await asyncio.to_thread(lambda: offline(*arguments, input=input, **{"TRUNKLINE_DATABASE_URL": trunkline_url, **env}))

    return ask


def job_view(**change: Any) -> JobView:
    """A job in line as people see it, or with `change`, without a database."""
    now = datetime.now(UTC)
    nothing = dict.fromkeys(("user_id", "run_at", "started_at", "deadline", "finished_at", "result", "error", "progress", "options"))
    values = {"id": uuid4(), "tenant_id": 1, "queue": "work", "kind": "work", "state": "queued", "priority": 0, "attempt": 0, "failures": 0}
    return JobView(**{**values, **nothing, "payload": {}, "created_at": now, **change})


async def ended(queue: Queue, ending: str, **options: Any) -> UUID:
    """A job that went in and ended completed, failed or cancelled."""
    job_id = await queue.put(**options)
    await queue.end(job_id, ending)
    return job_id


@pytest.fixture
def room() -> Iterator[Path]:
    """A short folder that any account can enter, with a module `tasks` in it."""
    folder = Path(tempfile.mkdtemp(prefix="tl-", dir="/tmp"))
    folder.chmod(0o755)
    (folder / "tasks.py").write_text(TASKS)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def start(room: Path, trunkline_url: str) -> Iterator[Start]:
    """Start a command as a process in `room`, on the test's database."""
    with ExitStack() as running:

        def begin(*arguments: str, terminal: bool = False, **env: str) -> Program:
            settings = environment(**{"TRUNKLINE_DATABASE_URL": trunkline_url, **env})
            return running.enter_context(Program(arguments, env=settings, cwd=room, terminal=terminal))

        yield begin


@pytest.fixture
def worker(start: Start) -> Program:
    """A worker that runs `tasks:app`, ready."""
    program = start("worker", "tasks:app", "--json")
    program.until('"ready"')
    return program
