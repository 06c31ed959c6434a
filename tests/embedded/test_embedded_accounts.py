"""Who the server runs as: root drops to another account and brings what it needs within its reach."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from trunkline.embedded import EmbeddedServer, account, erase, find_binaries, installed_binaries, reach, shelter
from trunkline.errors import EmbeddedFailed

Ask = Callable[..., object]
Running = Callable[[Path], list[str]]
Spawn = Callable[..., Any]
Start = Callable[..., EmbeddedServer]
Until = Callable[..., float]

BIN_DIR = os.environ.get("TRUNKLINE_PG_BIN_DIR")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
_VERSION = "import sys; sys.exit(sys.version_info < (3, 11))"


@pytest.fixture
def nobody() -> int:
    try:
        return pwd.getpwnam("nobody").pw_uid
    except KeyError:
        pytest.skip("no account named nobody")


@pytest.fixture
def everybodys_python(nobody: int) -> str:
    """A Python 3.11 or newer that an unprivileged account can run; the room needs no package from it."""
    for candidate in (sys.executable, shutil.which("python3", path="/usr/bin:/usr/local/bin")):
        try:
            if candidate and not subprocess.run([candidate, "-c", _VERSION], user=nobody, extra_groups=[]).returncode:
                return candidate
        except PermissionError:
            continue
    pytest.skip("no Python 3.11 that another account can run")


@pytest.fixture
def everybodys_binaries(nobody: int) -> Path:
    """A PostgreSQL that an unprivileged account can run."""
    unprivileged = account.Account(nobody, pwd.getpwuid(nobody).pw_gid, is_other=True)
    for found in [find_binaries(BIN_DIR), *installed_binaries()]:
        if unprivileged.can_enter(found.bin_dir):
            return found.bin_dir
    pytest.skip("no PostgreSQL that another account can run")


@pytest.fixture
def small_shelter(room: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A shelter of the test's own in place of /var/lib/trunkline."""
    monkeypatch.setattr(shelter, "SHELTERS", (room / "missing" / "parent", room / "shelter"))
    return room / "shelter"


@pytest.fixture
def closed(room: Path) -> Path:
    """A folder that only its owner can enter, as /root is."""
    (room / "closed").mkdir(mode=0o700)
    return room / "closed"


def test_an_ordinary_user_runs_the_server_as_itself(
    room: Path, launch_as: Callable[[], Any], ask: Ask, until: Until, running: Running
) -> None:
    """The server, its files and the watchdog are the user's, and the last owner's death ends them."""
    owner = launch_as()
    uid = psutil.Process(owner.process.pid).uids().effective
    folder = room / "users" / "data"
    uids = (psutil.Process(owner.pid).uids().effective, (folder / "pg").stat().st_uid, folder.stat().st_uid)
    owner.kill()

    assert (uid,) * 3 == uids
    assert until(lambda: not running(folder)) < 5


@pytest.fixture
def launch_as(room: Path, spawn: Spawn, request: pytest.FixtureRequest) -> Callable[[], Any]:
    """Start an owner as an ordinary user in a folder of its own: as `nobody` when we are root."""
    (room / "users").mkdir()
    if os.geteuid() != 0:
        return lambda: spawn(folder=room / "users" / "data")
    uid = request.getfixturevalue("nobody")
    os.chown(room / "users", uid, -1)
    python, bin_dir = request.getfixturevalue("everybodys_python"), request.getfixturevalue("everybodys_binaries")
    return lambda: spawn(folder=room / "users" / "data", uid=uid, python=python, bin_dir=str(bin_dir))


@as_root
def test_root_runs_the_server_as_another_account(start: Start, ask: Ask, data_dir: Path) -> None:
    """Its cluster and socket are that account's alone; locks and log stay root's."""
    server = start()
    uids = {
        psutil.Process(server.pid).uids().effective,
        (data_dir / "pg").stat().st_uid,
        (data_dir / "socket").stat().st_uid,
    }

    assert 1 == ask(server.url, "select 1")
    assert 1 == len(uids)
    assert 0 not in uids
    assert 0 == server.log_path.stat().st_uid
    assert 0o700 == (data_dir / "socket").stat().st_mode & 0o777


@as_root
def test_root_runs_the_server_of_a_users_folder_as_that_user(
    room: Path, launch_as: Callable[[], Any], ask: Ask, nobody: int, everybodys_binaries: Path
) -> None:
    """`sudo` once must not lock the user out: every file root makes there is the user's."""
    folder = room / "users" / "data"
    folder.mkdir()
    os.chown(folder, nobody, -1)
    with EmbeddedServer.start(folder, bin_dir=everybodys_binaries, durable=False) as server:
        answer = ask(server.url, "select 1")
        uid = psutil.Process(server.pid).uids().effective
    theirs = launch_as()
    theirs.stop()

    assert (1, nobody) == (answer, uid)
    assert {nobody} == {path.stat().st_uid for path in folder.iterdir()}


@as_root
def test_a_user_is_told_that_the_folder_is_somebody_elses(
    start: Start,
    data_dir: Path,
    launch_owner: Callable[..., subprocess.Popen[str]],
    everybodys_python: str,
    nobody: int,
) -> None:
    """A folder that root made, for one."""
    start().stop()
    output, _ = launch_owner(python=everybodys_python, uid=nobody).communicate()

    assert "EmbeddedFailed: The data folder" in output
    assert "TRUNKLINE_DATA_DIR" in output


@as_root
def test_a_folder_under_a_closed_one_keeps_its_database_in_the_shelter(
    closed: Path, small_shelter: Path, ask: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    """As ./.trunkline under /root: it works, a warning says where the data are, and erasing finds them."""
    folder = closed / ".trunkline"
    with EmbeddedServer.start(folder, durable=False) as server:
        ask(server.url, "create table kept as select 42 as x")
    with EmbeddedServer.start(folder, durable=False) as server:
        kept, cluster = ask(server.url, "select x from kept"), server.cluster_dir
    belongs_to = (cluster.parent / "belongs-to").read_text().strip()
    mode = closed.stat().st_mode & 0o777
    erase(folder)

    assert (42, str(folder), 0o700) == (kept, belongs_to, mode)
    assert cluster.is_relative_to(small_shelter)
    assert f"kept in {cluster.parent}" in caplog.text
    assert not folder.exists()
    assert not cluster.exists()


@as_root
def test_a_deleted_folder_does_not_bring_its_sheltered_database_back(closed: Path, small_shelter: Path, ask: Ask) -> None:
    """`rm -rf .trunkline` means a new database, also where the data lay elsewhere."""
    folder = closed / ".trunkline"
    with EmbeddedServer.start(folder, durable=False) as server:
        ask(server.url, "create table gone (x int)")
    shutil.rmtree(folder)
    with EmbeddedServer.start(folder, durable=False) as server:
        table = ask(server.url, "select to_regclass('gone')::text")

    assert table is None


@as_root
def test_binaries_that_only_root_can_read_are_copied(closed: Path, small_shelter: Path, start: Start, ask: Ask) -> None:
    """As a virtual environment under /root; the second start uses the copy again."""
    installation = _real_installation()
    package = installation.parent
    shutil.copytree(installation, closed / package.name / "pginstall", symlinks=True)
    if (libraries := package.with_name(f"{package.name}.libs")).is_dir():
        shutil.copytree(libraries, closed / libraries.name)
    server = start(bin_dir=closed / package.name)
    server.restart()

    assert 1 == ask(server.url, "select 1")
    assert Path(psutil.Process(server.pid).exe()).is_relative_to(small_shelter / "binaries")
    assert 1 == len([path for path in (small_shelter / "binaries").iterdir() if path.is_dir()])


def _real_installation() -> Path:
    folder = find_binaries(BIN_DIR).bin_dir.parent
    if not (folder / "share").is_dir():
        pytest.skip("the PostgreSQL found is not one movable folder")
    return folder


@as_root
def test_binaries_in_a_folder_too_large_to_copy_are_refused(
    closed: Path, small_shelter: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`bin` in somebody's home or in /usr is not an installation to copy around."""
    monkeypatch.setattr(reach, "MAX_COPY_BYTES", 10)
    shutil.copytree(find_binaries(BIN_DIR).bin_dir, closed / "bin")

    with pytest.raises(EmbeddedFailed, match="too large to copy"):
        start(bin_dir=closed / "bin")


@as_root
def test_without_any_shelter_a_closed_folder_is_refused(closed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says which account needs to get where."""
    monkeypatch.setattr(shelter, "SHELTERS", (closed / "shelter",))

    with pytest.raises(EmbeddedFailed, match=r"cannot reach the files(.|\n)*ordinary user"):
        EmbeddedServer.start(closed / "data")


@as_root
def test_a_shelter_that_somebody_else_prepared_is_not_used(room: Path, closed: Path, nobody: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody can make a folder in /var/tmp before us."""
    (room / "trap").mkdir()
    os.chown(room / "trap", nobody, -1)
    monkeypatch.setattr(shelter, "SHELTERS", (room / "trap",))

    with pytest.raises(EmbeddedFailed, match="cannot reach the files"):
        EmbeddedServer.start(closed / "data")


@as_root
def test_root_without_any_account_to_drop_to_is_told_to_make_one(room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL never runs as root, so this cannot be worked around."""
    monkeypatch.setattr(account, "CANDIDATES", ("no-such-account",))

    with pytest.raises(EmbeddedFailed, match=r"no account named no-such-account.*useradd"):
        EmbeddedServer.start(room / "data")


@pytest.fixture(autouse=True)
def nothing_stays(room: Path, until: Until, running: Running) -> Iterator[None]:
    """Folders beside `data_dir` are used here: nothing may run in any of them."""
    yield
    until(lambda: not running(room))
