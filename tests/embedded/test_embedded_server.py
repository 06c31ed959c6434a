"""One owner and one server: first start, settings, restarts after every kind of end, and folders that cannot work."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest
import sqlalchemy

from trunkline.embedded import EmbeddedServer, installed_binaries, launch, processes
from trunkline.errors import EmbeddedFailed, InvalidSetting

Start = Callable[..., EmbeddedServer]
Ask = Callable[..., object]
Until = Callable[..., float]
Running = Callable[[Path], list[str]]
RunAs = Callable[..., subprocess.Popen[bytes]]


def test_the_first_start_makes_a_database_that_answers(data_dir: Path, ask: Ask) -> None:
    """Durable unless told otherwise, UTF-8, UTC, sorted by code point, and nothing on the network."""
    with EmbeddedServer.start(data_dir) as server:
        answers = {name: ask(server.url, f"show {name}") for name in WANTED}
        order = ask(server.url, "select string_agg(x, '' order by x) from unnest(array['b', 'A', 'a', 'B']) x")
        version, log = server.version, server.log_path

    assert WANTED == answers
    assert "ABab" == order
    assert version in log.read_text()
    assert log.parent == data_dir


WANTED = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "server_encoding": "UTF8",
    "timezone": "UTC",
    "listen_addresses": "",
    "shared_preload_libraries": "",
}


async def test_every_driver_takes_the_url(start: Start, ask: Ask) -> None:
    """asyncpg, psycopg and SQLAlchemy read the socket folder from the same query string."""
    url = start().url
    connection = await asyncpg.connect(url)
    try:
        by_asyncpg = await connection.fetchval("select current_user")
    finally:
        await connection.close()
    engine = sqlalchemy.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as session:
        by_sqlalchemy = session.execute(sqlalchemy.text("select current_user")).scalar_one()
    engine.dispose()

    assert ["trunkline"] * 3 == [by_asyncpg, by_sqlalchemy, ask(url, "select current_user")]


def test_tests_may_trade_durability_for_speed_and_add_settings(start: Start, ask: Ask) -> None:
    """`durable=False` and `extra_settings` reach the server; ours lose to the caller's."""
    server = start(durable=False, extra_settings={"work_mem": "7MB", "max_connections": 33, "jit": False, "my.own": "it's"})
    names = ("fsync", "synchronous_commit", "full_page_writes", "work_mem", "max_connections", "jit", "my.own")

    assert ["off", "off", "off", "7MB", "33", "off", "it's"] == [ask(server.url, f"show {name}") for name in names]


@pytest.mark.parametrize("name", ["port", "listen_addresses", "bad name"])
def test_a_setting_that_the_server_needs_itself_is_refused(data_dir: Path, name: str) -> None:
    """Nothing is made for a call that cannot work."""
    with pytest.raises(InvalidSetting, match=name):
        EmbeddedServer.start(data_dir, extra_settings={name: "1"})

    assert not data_dir.exists()


def test_stopping_twice_is_stopping_once_and_leaves_no_process(data_dir: Path, running: Running, ask: Ask) -> None:
    """The watchdog has gone too when `stop` returns."""
    server = EmbeddedServer.start(data_dir, durable=False)
    ask(server.url, "create table kept (x int)")
    server.stop()
    server.stop()

    assert [] == running(data_dir)
    assert server.pid is None


def test_data_outlive_a_stop(start: Start, ask: Ask) -> None:
    """The second start finds the database of the first."""
    server = start()
    ask(server.url, "create table kept as select 42 as x")
    server.stop()

    assert 42 == ask(start().url, "select x from kept")


def test_a_killed_postmaster_is_started_again_on_its_folder(start: Start, ask: Ask, until: Until) -> None:
    """kill -9 leaves a pid file, a socket, a socket lock and orphans; the committed row is there afterwards."""
    server = start(extra_settings={"synchronous_commit": "on"})
    ask(server.url, "create table kept as select 42 as x")
    killed = server.pid or 0
    os.kill(killed, signal.SIGKILL)
    until(lambda: server.pid is None)
    server.restart()

    assert 42 == ask(server.url, "select x from kept")
    assert killed != server.pid


def test_a_new_owner_revives_a_killed_server_under_the_old_one(start: Start, ask: Ask) -> None:
    """Nobody waited for the postmaster to be seen dead, and its busy children must go first."""
    first = start()
    assert first.pid
    os.kill(first.pid, signal.SIGKILL)
    second = start()

    assert second.pid == first.pid
    assert 1 == ask(first.url, "select 1")


def test_a_crash_keeps_what_was_committed(start: Start, ask: Ask) -> None:
    """`crash` is the immediate mode: no checkpoint, recovery at the restart."""
    server = start(extra_settings={"synchronous_commit": "on"})
    ask(server.url, "create table kept as select 42 as x")
    server.crash()
    pid_after_crash = server.pid
    server.restart()

    assert pid_after_crash is None
    assert 42 == ask(server.url, "select x from kept")
    assert "automatic recovery in progress" in server.log_path.read_text()


def test_an_owner_that_let_go_cannot_restart_the_server(start: Start) -> None:
    """It would bring up a server that nobody owns."""
    server = start()
    server.stop()

    with pytest.raises(EmbeddedFailed, match="start again"):
        server.restart()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # the test runner has threads
def test_a_forked_process_cannot_stop_its_parents_server(start: Start, ask: Ask) -> None:
    """Its copy of the object is not an owner."""
    server = start()
    child = os.fork()
    if not child:
        server.stop()
        os._exit(0)
    os.waitpid(child, 0)

    assert 1 == ask(server.url, "select 1")


def test_a_pid_file_whose_number_is_now_somebody_elses_does_not_block_the_start(start: Start, run_as: RunAs, ask: Ask) -> None:
    """After a reboot or in a container, the dead postmaster's pid is soon another process of the same account."""
    server = start()
    bystander = run_as(server.cluster_dir.stat().st_uid)
    server.stop()
    (server.cluster_dir / "postmaster.pid").write_text(f"{bystander.pid}\n{server.cluster_dir}\n1\n5432\n/nowhere\n\n1 1\nready\n")

    assert 1 == ask(start().url, "select 1")
    assert bystander.poll() is None


def test_a_system_without_proc_sees_the_same_processes(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS lists them with `ps`."""
    if not (shutil.which("ps") and Path("/proc/self").exists()):
        pytest.skip("needs both ways to compare them")
    server = start()
    identity = (server.cluster_dir.stat().st_uid, server.pid or 0)
    token = next(word for word in Path(f"/proc/{identity[1]}/cmdline").read_text().split("\0") if "cluster_name" in word)[-16:]
    from_proc = processes._running
    for _ in range(50):  # autovacuum comes and goes: a look by `ps` between two equal looks by /proc
        by_proc = processes.find(token, identity[0])
        monkeypatch.setattr(processes, "_running", processes._from_ps)
        by_ps = processes.find(token, identity[0])
        monkeypatch.setattr(processes, "_running", from_proc)
        if by_proc == processes.find(token, identity[0]):
            break

    assert by_proc == by_ps
    assert [identity[1]] == [pid for pid, leads in by_proc.items() if leads]
    assert len(by_proc) > 3


def test_a_client_that_names_the_server_is_not_taken_for_it(start: Start, run_as: RunAs, ask: Ask) -> None:
    """A `psql -h …` of the same account has the socket folder in its command line and outlives the server."""
    server = start()
    name = str(ask(server.url, "show cluster_name"))
    client = run_as(server.cluster_dir.stat().st_uid, name, str(server.cluster_dir))
    server.stop()

    assert client.poll() is None


def test_a_log_that_grew_large_is_put_aside_at_the_next_start(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """One old log is kept."""
    monkeypatch.setattr(launch, "MAX_LOG_BYTES", 10)
    start().stop()
    start().stop()
    server = start()

    assert ["server.log", "server.log.1"] == sorted(path.name for path in server.data_dir.glob("server.log*"))
    assert 1 == server.log_path.read_text().count("starting PostgreSQL")


def test_importing_the_room_loads_nothing_of_it_and_no_package() -> None:
    """The watchdog comes in through here, without site-packages."""
    source = str(Path(launch.__file__).parents[2])
    program = f"import sys; sys.path.append({source!r}); import trunkline.embedded.watchdog; print(*sys.modules)"
    listing = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=True)
    ours = {name for name in listing.stdout.split() if name.startswith("trunkline.embedded.")}

    assert {f"trunkline.embedded.{name}" for name in ("watchdog", "owners", "processes", "locks")} == ours


@pytest.fixture
def run_as() -> Iterator[RunAs]:
    """Begin a process of some account, with some arguments, that has nothing to do with PostgreSQL."""
    processes: list[subprocess.Popen[bytes]] = []

    def begin(uid: int, *arguments: str) -> subprocess.Popen[bytes]:
        command = ["sh", "-c", "sleep 600 & wait", *arguments]
        user = uid if os.geteuid() == 0 else None
        processes.append(subprocess.Popen(command, user=user, start_new_session=True))
        return processes[-1]

    yield begin
    for process in processes:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_an_interrupted_initdb_is_thrown_away(start: Start, data_dir: Path, ask: Ask) -> None:
    """Half a cluster never has the name of a whole one."""
    data_dir.mkdir()
    (data_dir / "making-0123456789abcdef" / "base").mkdir(parents=True)
    (data_dir / "making-0123456789abcdef" / "PG_VERSION").write_text("18\n")

    assert 1 == ask(start().url, "select 1")
    assert [] == list(data_dir.glob("making-*"))


def test_a_deep_folder_gets_its_socket_in_a_private_temporary_folder(start: Start, data_dir: Path, ask: Ask) -> None:
    """A socket path holds about 107 bytes; the folder's name is the same at each start, and it goes with the server."""
    deep = data_dir / ("d" * 60) / ("e" * 60)
    server = start(deep)
    socket_dir = Path(str(ask(server.url, "show unix_socket_directories")).strip('"'))
    mode = stat.S_IMODE(socket_dir.stat().st_mode)
    server.stop()

    assert 0o700 == mode
    assert not socket_dir.is_relative_to(data_dir)
    assert not socket_dir.exists()
    assert server.url == start(deep).url


def test_a_folder_name_that_shells_and_urls_would_take_apart_works(start: Start, data_dir: Path, ask: Ask) -> None:
    """Spaces, quotes, dollar signs, commas, per cent."""
    server = start(data_dir / 'it\'s 100% "$HOME", `x`;é')

    assert 1 == ask(server.url, "select 1")


def test_a_setting_that_postgresql_refuses_ends_with_its_log(data_dir: Path, running: Running) -> None:
    """The reason is in the message, not only in a file; nothing stays behind."""
    with pytest.raises(EmbeddedFailed, match=r"ended while starting(.|\n)*invalid value for parameter \"work_mem\""):
        EmbeddedServer.start(data_dir, durable=False, extra_settings={"work_mem": "much"})

    assert not [command for command in running(data_dir) if "postgres" in command and "watchdog" not in command]


def test_a_folder_of_another_major_version_is_refused_with_the_way_on(start: Start) -> None:
    """Starting it would damage it; PostgreSQL 14 is none of ours, so no other binaries are found either."""
    server = start()
    server.stop()
    (server.cluster_dir / "PG_VERSION").write_text("14\n")

    with pytest.raises(EmbeddedFailed, match=r"made by PostgreSQL 14(.|\n)*TRUNKLINE_PG_BIN_DIR(.|\n)*move"):
        start()


def test_a_folder_keeps_the_version_that_made_it_when_that_is_still_installed(start: Start, ask: Ask) -> None:
    """A newer wheel does not strand an older database."""
    majors = {found.major: found for found in reversed(installed_binaries())}
    if len(majors) < 2:
        pytest.skip("needs two major versions")
    oldest, newest = majors[min(majors)], majors[max(majors)]
    start(bin_dir=oldest.bin_dir).stop()
    with pytest.raises(EmbeddedFailed, match=f"made by PostgreSQL {oldest.major}"):
        start(bin_dir=newest.bin_dir)

    assert str(oldest.major) == start(bin_dir=None).version.split(".")[0]


@pytest.mark.parametrize("content", ["PG_VERSION", "pg/base/1"])
def test_a_folder_that_holds_something_else_is_left_alone(data_dir: Path, content: str) -> None:
    """A foreign cluster, or a damaged one of ours: neither is overwritten."""
    (data_dir / content).parent.mkdir(parents=True)
    (data_dir / content).write_text("16\n")

    with pytest.raises(EmbeddedFailed, match="PostgreSQL data folder"):
        EmbeddedServer.start(data_dir, durable=False)

    assert "16\n" == (data_dir / content).read_text()
    (data_dir / "id").touch()  # so that the room can be emptied


def test_a_folder_that_cannot_be_made_is_named_in_the_error(room: Path) -> None:
    """A file is in the way."""
    (room / "file").touch()

    with pytest.raises(EmbeddedFailed, match=r"data folder .*file/data cannot be used.*TRUNKLINE_DATA_DIR"):
        EmbeddedServer.start(room / "file" / "data")
