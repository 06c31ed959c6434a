"""`trunkline worker`: finding the application, running it, ending it."""

from __future__ import annotations

import json
import signal
import socket
import urllib.request
from pathlib import Path

import pytest

from tests.cli.conftest import Cli, Start
from tests.cli.program import Program
from trunkline import Trunkline
from trunkline.cli.worker import load

STOPPED = "Stopped at once. Jobs that were running are offered again within 10 s.\n"
LOOPS = {"asyncio": "raise ImportError", "uvloop": ""}


@pytest.mark.parametrize(
    ("application", "said"),
    [
        ("nothing_here:app", "error: there is no module 'nothing_here' in "),
        ("tasks:aap", "error: module 'tasks' has no 'aap'. It has: app.\n"),
        ("tasks:not_an_app", "error: tasks:not_an_app is a builtins.object: need a trunkline.Trunkline object.\n"),
        ("broken:app", "error: module 'broken' cannot be imported: NameError: name 'undefined' is not defined (broken.py, line 2).\n"),
        ("typo:app", "error: module 'typo' cannot be imported: SyntaxError: '(' was never closed (typo.py, line 1).\n"),
        (
            "needy:app",
            "error: module 'needy' cannot be imported: No module named 'not_installed' (needy.py, line 1). Install what it needs.\n",
        ),
        ("empty:app", "error: module 'empty' has no 'app'. It needs: app = Trunkline().\n"),
        ("idle:app", "error: no handler is declared: decorate a function with @app.job(...).\n"),
    ],
)
def test_an_application_that_cannot_be_run_is_a_sentence(start: Start, room: Path, application: str, said: str):
    """With the line in the user's own file, and no traceback."""
    for name, text in {
        "broken": "x = 1\nundefined",
        "typo": "f(",
        "needy": "import not_installed",
        "empty": "",
        "idle": "from trunkline import Trunkline\napp = Trunkline()",
    }.items():
        (room / f"{name}.py").write_text(text)
    program = start("worker", application)

    assert 1 == program.end()
    assert program.complained.startswith(said)
    assert "Traceback" not in program.complained and "" == program.said.replace(program.said, "")


@pytest.mark.parametrize("application", ["tasks", "tasks:", ":app"])
async def test_module_and_name_are_both_needed(cli: Cli, application: str):
    """Wrong usage, with an example."""
    answer = await cli("worker", application)

    assert 2 == answer.code and "such as tasks:app" in answer.sentence


async def test_an_outdated_schema_is_a_sentence(start: Start):
    """A worker never migrates a database that somebody else runs."""
    program = start("worker", "tasks:app", TRUNKLINE_SCHEMA="absent")

    assert 1 == program.end()
    assert "error: the schema 'absent' is not there. Run: trunkline migrate\n" in program.complained


def test_a_dotted_name_is_followed(room: Path, monkeypatch: pytest.MonkeyPatch):
    """tasks:Holder.app, for applications that live on something."""
    monkeypatch.chdir(room)
    monkeypatch.setattr("sys.path", ["", *__import__("sys").path])
    (room / "held_tasks.py").write_text("from trunkline import Trunkline\nclass Holder:\n    app = Trunkline()")

    assert isinstance(load("held_tasks", "Holder.app"), Trunkline)


async def test_only_the_chosen_queues_are_worked_on(cli: Cli, start: Start):
    """The others wait for another worker."""
    program = start("worker", "tasks:app", "--queues", "greet,side", "--concurrency", "2", "--json")
    program.until('"ready"')
    left = (await cli("enqueue", "fails")).out.strip()
    done = await cli("enqueue", "greet", "--wait")
    aside = await cli("enqueue", "greet", "--queue", "side", "--wait")

    assert ({"hello": "you"}, {"hello": "you"}) == (done.json, aside.json)
    assert "queued" == (await cli("jobs", "show", left, "--json")).json["state"]
    ready = json.loads(program.said.splitlines()[0])
    assert (2, ["greet", "side"]) == (ready["concurrency"], ready["queues"])


@pytest.mark.parametrize("loop", LOOPS)
async def test_ctrl_c_lets_jobs_finish_hands_the_others_back_and_says_so(cli: Cli, start: Start, room: Path, loop: str):
    """One line, exit code 0, on either event loop; the handed back job counts no failure."""
    if LOOPS[loop]:
        (room / "uvloop.py").write_text(LOOPS[loop])
    gate, shut = room / "gate", room / "shut"
    program = start("worker", "tasks:app", TRUNKLINE_SHUTDOWN_TIMEOUT="2")
    program.until("Worker ")
    ids = [(await cli("enqueue", "gated", json.dumps({"gate": str(path)}))).out.strip() for path in (gate, shut)]
    await _running(cli, 2)
    program.signal(signal.SIGINT)
    program.until("Stopping: 2 jobs may finish within 2 s. Ctrl-C again stops at once.\n")
    gate.touch()

    assert 0 == program.end()
    assert program.said.endswith("Stopped: 1 finished meanwhile, 1 handed back.\n")
    finished, handed_back = [(await cli("jobs", "show", job_id, "--json")).json for job_id in ids]
    assert ("completed", "queued", 0) == (finished["state"], handed_back["state"], handed_back["failures"])


async def test_the_second_ctrl_c_is_immediate(cli: Cli, worker: Program, room: Path):
    """Exit code 130, however long the jobs would take."""
    await cli("enqueue", "gated", json.dumps({"gate": str(room / "never")}))
    await _running(cli, 1)
    worker.signal(signal.SIGINT)
    worker.until('{"event":"stopping","running":1,"timeoutS":30.0}')
    worker.signal(signal.SIGINT)

    assert (130, STOPPED) == (worker.end(), worker.complained.rpartition("}\n")[2])


async def test_sigterm_is_as_graceful_as_ctrl_c(cli: Cli, worker: Program):
    """What a service manager sends; an idle worker ends at once."""
    await cli("enqueue", "greet", "--wait")
    worker.until('{"event":"endings","kind":"greet","completed":1}')
    worker.signal(signal.SIGTERM)

    assert 0 == worker.end()
    assert {"event": "stopped", "finished": 0, "handedBack": 0, "unreported": 0} == json.loads(worker.said.splitlines()[-1])


async def test_a_handler_that_hears_nothing_does_not_keep_the_process(cli: Cli, start: Start, room: Path):
    """A thread cannot be stopped: its job is handed back, and nobody waits for it."""
    program = start("worker", "tasks:app", TRUNKLINE_SHUTDOWN_TIMEOUT="0.2")
    program.until("Worker ")
    await cli("enqueue", "deaf", json.dumps({"gate": str(room / "never")}))
    program.until("deaf runs")
    program.signal(signal.SIGTERM)

    assert 0 == program.end()
    assert program.said.endswith("Stopped: 0 finished meanwhile, 1 handed back.\n")


async def _running(cli: Cli, count: int) -> None:
    """Wait until so many jobs report that they run."""
    from tests.support.until import until

    async def running() -> bool:
        jobs = (await cli("jobs", "list", "--state", "active", "--json")).json["jobs"]
        return count == sum(job["progress"] is not None for job in jobs)

    await until(running, f"{count} running jobs")


async def test_a_worker_serves_metrics_where_it_is_told_to(start, cli):
    """On the loopback address; the job that ran is counted. Without being told there is no port."""
    program = start("worker", "tasks:app", "--json", "--metrics-port", "0")
    program.until('"ready"')
    await cli("enqueue", "greet", "{}", "--wait")
    port = next(json.loads(line)["port"] for line in program.said.splitlines() if '"metrics"' in line)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
        text = answer.read().decode()

    assert 'trunkline_jobs_completed_total{kind="greet",queue="greet"} 1.0' in text
    assert "trunkline_database_up 1.0" in text and "trunkline_table_bytes" in text


async def test_a_metrics_port_from_the_settings_that_is_taken_stops_the_start(start, worker):
    """With a sentence that names the variable."""
    taken = socket.create_server(("127.0.0.1", 0))
    program = start("worker", "tasks:app", TRUNKLINE_METRICS_PORT=str(taken.getsockname()[1]))

    assert 0 != program.end() and "TRUNKLINE_METRICS_PORT" in program.complained
    assert '"metrics"' not in worker.said
    taken.close()
