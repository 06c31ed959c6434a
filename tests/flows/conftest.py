"""Rooms for faults: a journal, worker processes that can be killed, a server that can be crashed, a proxy that can fail.

Always true: when a test is over, passed or failed, every process it started is dead and its server answers again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import asyncpg
import psutil
import pytest

from tests.support.handlers import declare, noting_acks
from tests.support.journal import Journal, Verdict
from tests.support.proxy import Proxy
from tests.support.sender import Sender
from tests.support.until import until
from trunkline import Trunkline
from trunkline.embedded import EmbeddedServer, erase
from trunkline.settings import Settings
from trunkline.store.admin import create_database, drop_database, migrated_template

ROOT = Path(__file__).parents[2]
DRAINED = """select not exists (select from trunkline.ready) and not exists (select from trunkline.deferred)
   and not exists (select from trunkline.lease)"""


class Child:
    """A process of ours: a worker or a sender."""

    def __init__(self, name: str, journal: Journal, process: subprocess.Popen[bytes], output: Path) -> None:
        self.name, self.journal, self.process, self.output = name, journal, process, output

    async def is_up(self) -> Child:
        """Wait until it is open and, if a worker, claims."""

        def up() -> bool:
            assert self.process.poll() is None, f"{self.name} ended with {self.process.returncode}:\n{self.said()}"
            return bool(self.journal.of("up", who=self.name))

        await until(up, f"{self.name} is up")
        return self

    @property
    def session_id(self) -> int:
        """The session it had when it started."""
        return int(self.journal.of("up", who=self.name)[0].more["session"])

    def said(self) -> str:
        """The end of what it logged."""
        return self.output.read_text(errors="replace")[-4000:]

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait()

    def pause(self) -> None:
        """SIGSTOP: it neither works nor hears, and its connections stay open."""
        self.process.send_signal(signal.SIGSTOP)

    def wake(self) -> None:
        """SIGCONT."""
        self.process.send_signal(signal.SIGCONT)

    async def terminate(self, within_s: float = 30.0) -> None:
        """SIGTERM, and wait for its end."""
        self.process.terminate()
        await self.ended(within_s)

    async def ended(self, within_s: float = 60.0) -> None:
        """Wait until it has ended by itself; it must have ended well."""
        await until(lambda: self.process.poll() is not None, f"{self.name} has ended", within_s=within_s)
        assert self.process.returncode == 0, f"{self.name} ended with {self.process.returncode}:\n{self.said()}"


class Children:
    """Starts processes; `end_all` leaves none."""

    def __init__(self, journal: Journal, folder: Path) -> None:
        self._journal, self._folder = journal, folder
        self._all: list[Child] = []

    def worker(self, url: str, **flags: object) -> Child:
        """Start a worker; flags as in tests.support.worker_process, with underscores."""
        return self._start("worker", url, flags)

    def sender(self, url: str, **flags: object) -> Child:
        """Start a sender; flags as in tests.support.sender_process."""
        return self._start("sender", url, flags)

    def gateway(self, url: str, **flags: object) -> Child:
        """Start a gateway; flags as in tests.support.gateway_process."""
        return self._start("gateway", url, flags)

    def remote(self, url: str, **flags: object) -> Child:
        """Start a remote worker; flags as in tests.support.remote_process."""
        return self._start("remote", url, flags)

    def _start(self, what: str, url: str, flags: dict[str, object]) -> Child:
        name = f"{what}-{len(self._all) + 1}"
        output = self._folder / f"{name}.log"
        command = [
            sys.executable,
            "-m",
            f"tests.support.{what}_process",
            "--url",
            url,
            "--journal",
            str(self._journal.path),
            "--name",
            name,
        ]
        for flag, value in flags.items():
            command.append(f"--{flag.replace('_', '-')}={value}")
        with output.open("wb") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=log, cwd=ROOT, env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"}
            )
        child = Child(name, self._journal, process, output)
        self._all.append(child)
        return child

    @property
    def all(self) -> list[Child]:
        """Those that were started, the dead ones too."""
        return self._all

    def end_all(self) -> None:
        """kill -9 whatever still runs, with its own children, and wait for it."""
        for child in self._all:
            if child.process.poll() is None:
                family = psutil.Process(child.process.pid).children(recursive=True)
                child.process.kill()
                for relative in family:
                    relative.kill()
            child.process.wait()
            assert child.process.stdin is not None
            child.process.stdin.close()


class Server:
    """A private PostgreSQL with durable commits."""

    def __init__(self, embedded: EmbeddedServer, url: str) -> None:
        self.embedded, self.url = embedded, url

    async def crash(self) -> None:
        """Immediate shutdown: no checkpoint, no goodbye, recovery at the next start."""
        await asyncio.to_thread(self.embedded.crash)

    async def start(self) -> None:
        """Start it again."""
        await asyncio.to_thread(self.embedded.restart)


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """What random choices of this test follow; printed on failure, and given back in TRUNKLINE_TEST_SEED."""
    seed = int(os.environ.get("TRUNKLINE_TEST_SEED") or random.SystemRandom().randrange(2**32))
    print(f"repeat with TRUNKLINE_TEST_SEED={seed} pytest {request.node.nodeid}")
    return seed


@pytest.fixture
def chance(seed: int) -> random.Random:
    """Random choices that can be repeated."""
    return random.Random(seed)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """A fresh journal; this process writes to it as `test`."""
    journal = Journal(tmp_path / "journal")
    yield journal
    journal.close()


@pytest.fixture
def children(journal: Journal, tmp_path: Path) -> Iterator[Children]:
    """Starts worker and sender processes that cannot outlive the test."""
    children = Children(journal, tmp_path)
    yield children
    children.end_all()


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """A file that is not there yet; `gated` jobs end when it is."""
    return tmp_path / "gate"


@pytest.fixture
def through(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Proxy]]:
    """Put a proxy in front of a server URL."""
    with ExitStack() as stack:
        yield lambda url: stack.enter_context(Proxy(url))


@pytest.fixture
def proxy(trunkline_url: str, through: Callable[[str], Proxy]) -> Proxy:
    """A proxy in front of this test's database on the shared server."""
    return through(trunkline_url)


@pytest.fixture
async def sender(trunkline_url: str, journal: Journal) -> AsyncIterator[Sender]:
    """A sender of this process, straight to the shared server."""
    async with Trunkline(settings=Settings.load({}, database_url=trunkline_url)) as app:
        yield Sender(app, journal)


@pytest.fixture
async def sender_through_proxy(proxy: Proxy, journal: Journal) -> AsyncIterator[Sender]:
    """A sender of this process, through the proxy."""
    async with Trunkline(settings=Settings.load({}, database_url=proxy.url)) as app:
        yield Sender(app, journal)


@pytest.fixture
async def worker_through_proxy(proxy: Proxy, journal: Journal) -> AsyncIterator[Trunkline]:
    """An application with all handlers whose worker is not started yet; everything it does goes through the proxy."""
    with noting_acks(journal):
        async with Trunkline(settings=Settings.load({}, database_url=proxy.url, shutdown_timeout_s=5)) as app:
            declare(app, journal)
            yield app


@pytest.fixture
def verdict(journal: Journal, trunkline_url: str) -> Callable[..., Awaitable[Verdict]]:
    """Wait until this test's database on the shared server has no live job, then the journal's verdict over it."""
    return lambda **how: drained_verdict(journal, trunkline_url, **how)


@pytest.fixture
def server_verdict(journal: Journal, server: Server) -> Callable[..., Awaitable[Verdict]]:
    """The same over the private server."""
    return lambda **how: drained_verdict(journal, server.url, **how)


async def drained_verdict(journal: Journal, url: str, *, within_s: float = 40.0, pauses: int = 0) -> Verdict:
    """The verdict as soon as no job lives any more; after `within_s` anyway, and then it says what still lives."""
    conn = await asyncpg.connect(url)
    try:
        with contextlib.suppress(AssertionError):
            await until(lambda: conn.fetchval(DRAINED), "no job lives", within_s=within_s)
    finally:
        await conn.close()
    return await Verdict.of(journal, url, pauses=pauses)


@pytest.fixture(scope="session")
def private_postgres() -> Iterator[EmbeddedServer]:
    """One durable server for all tests of this process that crash it."""
    folder = Path(tempfile.mkdtemp(prefix="tl-", dir="/tmp"))
    folder.chmod(0o755)
    server = EmbeddedServer.start(folder / "data", durable=True, bin_dir=os.environ.get("TRUNKLINE_PG_BIN_DIR"))
    try:
        asyncio.run(migrated_template(server.url))
        yield server
    finally:
        server.stop()
        erase(folder / "data")
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
async def server(private_postgres: EmbeddedServer) -> AsyncIterator[Server]:
    """A private server with a fresh database; it answers again after the test, whatever was done to it."""
    if private_postgres.pid is None:
        await asyncio.to_thread(private_postgres.restart)
    name = f"trunkline_test_{uuid4().hex[:16]}"
    url = await create_database(private_postgres.url, name, template="trunkline_template")
    yield Server(private_postgres, url)
    if private_postgres.pid is None:
        await asyncio.to_thread(private_postgres.restart)
    await statements(private_postgres.url, "set default_transaction_read_only = off", "alter system reset all", "select pg_reload_conf()")
    await drop_database(private_postgres.url, name)


async def statements(url: str, *texts: str) -> None:
    """Run statements on a connection of their own."""
    conn = await asyncpg.connect(url)
    try:
        for text in texts:
            await conn.execute(text)
    finally:
        await conn.close()
