"""Many owners of one server: joining, the last one killed, arriving while it stops, dying while it starts."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from trunkline.embedded import EmbeddedServer, erase
from trunkline.embedded.locks import held, is_held
from trunkline.errors import EmbeddedFailed

Ask = Callable[..., object]
Running = Callable[[Path], list[str]]
Spawn = Callable[..., Any]
Start = Callable[..., EmbeddedServer]
Until = Callable[..., float]


def test_a_second_process_joins_the_running_server(start: Start, spawn: Spawn, ask: Ask) -> None:
    """One postmaster, and what one writes the other reads."""
    mine = start()
    theirs = spawn()
    ask(mine.url, "create table shared as select 7 as x")

    assert (mine.pid, mine.url) == (theirs.pid, theirs.url)
    assert 7 == ask(theirs.url, "select x from shared")


def test_the_server_stays_until_the_last_owner_stops(start: Start, spawn: Spawn, data_dir: Path, ask: Ask, running: Running) -> None:
    """Who started it does not matter."""
    starter = spawn()
    mine = start()
    starter.stop()
    answer = ask(mine.url, "select 1")
    mine.stop()

    assert 1 == answer
    assert [] == running(data_dir)


def test_two_owners_in_one_process_count_as_two(start: Start, ask: Ask) -> None:
    """A test's fixture and the application it tests may share a process."""
    first, second = start(), start()
    first.stop()

    assert 1 == ask(second.url, "select 1")


def test_a_killed_last_owner_takes_the_server_with_it_within_five_seconds(
    spawn: Spawn, data_dir: Path, until: Until, running: Running
) -> None:
    """kill -9 runs no goodbye; the watchdog ends too, and an open transaction does not hold it up."""
    owner = spawn()
    with psycopg.connect(owner.url) as transaction:
        transaction.execute("create table never (x int)")
        owner.kill()

        assert until(lambda: not running(data_dir)) < 5
        transaction.close()


def test_a_killed_owner_changes_nothing_for_the_others(start: Start, spawn: Spawn, ask: Ask, until: Until, data_dir: Path) -> None:
    """Its owner file stays behind, unlocked, and counts for nothing; the next start removes it."""
    starter = spawn()
    mine = start()
    pid = mine.pid
    starter.kill()
    start()

    assert (pid, 1) == (mine.pid, ask(mine.url, "select 1"))
    assert 2 == len(list((data_dir / "owners").iterdir()))


def test_ctrl_c_in_an_owners_terminal_does_not_reach_the_server(start: Start, spawn: Spawn, ask: Ask) -> None:
    """The server and the watchdog live in sessions of their own."""
    starter = spawn()
    mine = start()
    starter.interrupt()

    assert starter.pid == mine.pid
    assert 1 == ask(mine.url, "select 1")


def test_an_owner_that_arrives_while_the_server_is_being_stopped_gets_a_living_one(
    start: Start, spawn: Spawn, data_dir: Path, ask: Ask, until: Until
) -> None:
    """The stop is held in the middle; the newcomer waits for its end and starts afresh."""
    owner = spawn()
    os.kill(owner.pid, signal.SIGSTOP)
    owner.kill()
    until(lambda: is_held(data_dir / "gate.lock"))
    arrived: list[EmbeddedServer] = []
    newcomer = threading.Thread(target=lambda: arrived.append(start()))
    newcomer.start()
    until(lambda: any(file.path.endswith("gate.lock") for file in psutil.Process().open_files()))  # it is at the gate
    os.kill(owner.pid, signal.SIGCONT)
    newcomer.join()

    assert 1 == ask(arrived[0].url, "select 1")
    assert owner.pid != arrived[0].pid


def test_a_server_that_ignores_every_request_is_killed(spawn: Spawn, data_dir: Path, until: Until, running: Running) -> None:
    """A frozen postmaster answers neither the fast nor the immediate request."""
    owner = spawn()
    os.kill(owner.pid, signal.SIGSTOP)
    owner.kill()

    assert until(lambda: not running(data_dir)) < 8  # 5 on an idle machine


def test_owners_that_come_and_go_at_once_never_meet_a_dead_server(data_dir: Path, ask: Ask, running: Running) -> None:
    """Four threads start, ask and stop, again and again, over one folder."""
    answers: list[object] = []

    def come_and_go() -> None:
        for _ in range(5):
            with EmbeddedServer.start(data_dir, durable=False) as server:
                answers.append(ask(server.url, "select 1"))

    threads = [threading.Thread(target=come_and_go) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [1] * 20 == answers
    assert [] == running(data_dir)


@pytest.mark.parametrize("moment", ["making-*/PG_VERSION", "making-*/base/5/PG_VERSION", "pg/postmaster.pid"])
def test_an_owner_killed_while_it_starts_leaves_nothing_running_and_nothing_broken(
    launch_owner: Callable[..., subprocess.Popen[str]],
    start: Start,
    data_dir: Path,
    ask: Ask,
    until: Until,
    running: Running,
    moment: str,
) -> None:
    """In the first and the second half of initdb, and while the postmaster comes up."""
    owner = launch_owner()
    until(lambda: list(data_dir.glob(moment)) or owner.poll() is not None)
    owner.kill()
    owner.wait()
    until(lambda: not running(data_dir))

    assert 1 == ask(start().url, "select 1")
    assert [] == list(data_dir.glob("making-*"))


def test_a_lost_watchdog_is_replaced_by_the_next_owner(start: Start, spawn: Spawn, data_dir: Path, until: Until, running: Running) -> None:
    """Somebody ended what looked like a stray Python process."""
    first = spawn()
    watchdog = next(p for p in psutil.process_iter(["cmdline"]) if is_watchdog_of(data_dir, p.info["cmdline"]))
    watchdog.kill()
    until(lambda: not is_held(data_dir / "watchdog.lock"))
    second = spawn()
    first.kill()
    second.kill()

    assert until(lambda: not running(data_dir)) < 5


def is_watchdog_of(folder: Path, command: list[str] | None) -> bool:
    return bool(command) and str(folder) in command and any("embedded.watchdog" in part for part in command)


def test_a_folder_deleted_under_its_server_takes_the_server_with_it(spawn: Spawn, data_dir: Path, until: Until, running: Running) -> None:
    """`rm -rf` of the data folder, then the owner ends: the watchdog still knows what to stop."""
    owner = spawn()
    shutil.rmtree(data_dir)
    owner.kill()

    assert until(lambda: not running(data_dir) and not psutil.pid_exists(owner.pid)) < 5


def test_a_start_that_waited_while_the_folder_was_erased_begins_anew(start: Start, data_dir: Path, ask: Ask, until: Until) -> None:
    """The last process of a run erases the folder that a late one was about to use."""
    start().stop()
    arrived: list[EmbeddedServer] = []
    newcomer = threading.Thread(target=lambda: arrived.append(start()))
    with held(data_dir / "gate.lock", within_s=1):
        newcomer.start()
        until(lambda: 2 == sum(file.path.endswith("gate.lock") for file in psutil.Process().open_files()))
        shutil.rmtree(data_dir)
    newcomer.join()

    assert 1 == ask(arrived[0].url, "select 1")


def test_a_folder_in_use_is_not_erased(start: Start, data_dir: Path, ask: Ask) -> None:
    """And a folder that is not ours neither."""
    server = start()
    with pytest.raises(EmbeddedFailed, match="in use"):
        erase(data_dir)
    with pytest.raises(EmbeddedFailed, match="not a data folder of Trunkline"):
        erase(data_dir / "pg")

    assert 1 == ask(server.url, "select 1")


def test_a_start_that_cannot_get_its_turn_says_who_has_it(data_dir: Path, start: Start) -> None:
    """The wait is bounded."""
    start().stop()
    begin = time.monotonic()
    with held(data_dir / "gate.lock", within_s=1), pytest.raises(EmbeddedFailed, match="starting or stopping"):
        EmbeddedServer.start(data_dir, start_timeout_s=0.2)

    assert time.monotonic() - begin < 5
