"""What a machine reads in the logs: every line of a handler has its job, and no line has a secret."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from trunkline.observe import logs

PROGRAM = """
import asyncio, logging, sys
import structlog
from tests.engine import process_handlers
from trunkline import Trunkline
from trunkline.observe import logs
from trunkline.settings import Settings

async def main():
    logs.set_up("info", "json")
    async with Trunkline(settings=Settings.load()) as app:
        @app.job("async")
        async def one():
            await asyncio.sleep(0)
            structlog.get_logger().info("said", password="hunter2")
            logging.getLogger("of.a.library").warning("said of %s", "postgresql://me:hunter2@host/db", extra={"headers": {"Authorization": "hunter2"}})
        @app.job("thread")
        def other():
            structlog.get_logger().info("said", nested=[{"api_key": "hunter2", "harmless": 1}])
        app.job("process", process=True)(process_handlers.says)
        await app.start_worker()
        for kind in ("async", "thread", "process"):
            print(kind, await app.enqueue(kind), flush=True)
        structlog.get_logger().info("outside")
        while (await app.store.fetchval("select count(*) from trunkline.outcome")) < 3:
            await asyncio.sleep(0.05)

asyncio.run(main())
"""


async def test_every_line_of_a_handler_says_whose_it_is_and_none_has_a_secret(trunkline_url):
    """Handlers that are async, in threads, in processes; structlog and logging."""
    env = {**os.environ, "TRUNKLINE_DATABASE_URL": trunkline_url, "TRUNKLINE_LOG_FORMAT": "json"}
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PROGRAM,
        env=env,
        cwd=Path(__file__).parents[2],
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(child.communicate(), 60)
    lines = [json.loads(line) for line in err.decode().splitlines()]
    ids = dict(line.split() for line in out.decode().splitlines())
    said = [line for line in lines if line["event"].startswith("said")]

    assert 0 == child.returncode, err.decode()
    assert {("async", ids["async"]), ("thread", ids["thread"]), ("process", ids["process"])} == {
        (line["kind"], line["job_id"]) for line in said
    }
    assert 4 == len(said) and all(line["attempt"] == 1 and line["tenant_id"] >= 1 and line["level"] and line["timestamp"] for line in said)
    assert all("job_id" not in line for line in lines if line["event"] in ("outside", "worker.started"))
    assert "hunter2" not in err.decode()
    assert {"api_key": "***", "harmless": 1} in [each for line in said for each in line.get("nested", ())]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://me:p@ss:w/rd@host/db", "postgresql://me:***@host/db"),
        ("Authorization: Bearer eyJhbGciOi.J9.x", "Authorization: Bearer ***"),
        ("https://host/path?x=a@b", "https://host/path?x=a@b"),
        ("the bearer of news", "the bearer of news"),
    ],
)
def test_secrets_in_text_are_masked(text, shown):
    """And what is none is left as it is."""
    assert {"event": shown} == logs.mask(None, "info", {"event": text})


def test_a_line_keeps_its_own_fields(monkeypatch):
    """They go before what is known of the job."""
    monkeypatch.setattr(logs, "_about", [lambda: {"job_id": "of the job", "attempt": 1}, lambda: None])

    assert {"event": "x", "job_id": "its own", "attempt": 1} == logs.add_job(None, "info", {"event": "x", "job_id": "its own"})
