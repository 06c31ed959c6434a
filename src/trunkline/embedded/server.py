"""The embedded server as its owners see it: start or join, use the URL, stop.

Always true: a server that `start` returned stays up until each owner has stopped or died; then it is gone within
5 seconds, whether the last owner said goodbye, was killed, or lost its machine's patience. Every state change happens
under the folder's gate. All calls block: from async code use `asyncio.to_thread`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

from trunkline.embedded import cluster, owners, processes
from trunkline.embedded.guard import ensure_watchdog, wait_until_off_duty
from trunkline.embedded.launch import Wish, ensure_running, socket_of
from trunkline.embedded.locks import held, open_lock
from trunkline.embedded.owners import Owner
from trunkline.embedded.places import PORT, Places, gate_of, make_home, prepare
from trunkline.errors import EmbeddedFailed

START_TIMEOUT_S = 60.0
_STOP_FAST_S, _STOP_IMMEDIATE_S = 30.0, 5.0  # a checkpoint of a busy server takes its time, and nothing is in a hurry


class EmbeddedServer:
    """One owner's hold on the server of a data folder. Make it with `start`; usable as a context manager."""

    def __init__(self, places: Places, wish: Wish, owner: Owner, socket_dir: Path) -> None:
        self._places = places
        self._wish = wish
        self._owner: Owner | None = owner
        self._socket_dir = socket_dir

    @classmethod
    def start(
        cls,
        data_dir: str | Path,
        *,
        bin_dir: str | Path | None = None,
        extra_settings: Mapping[str, str | int | float | bool] | None = None,
        durable: bool = True,
        start_timeout_s: float = START_TIMEOUT_S,
    ) -> EmbeddedServer:
        """Start the server of `data_dir`, or join it if it runs. Returns when it answers.

        Args:
            data_dir: Made if needed; several processes may name the same one.
            bin_dir: TRUNKLINE_PG_BIN_DIR; None searches, preferring the version that made the folder.
            extra_settings: More PostgreSQL settings. A server that already runs keeps the ones it has.
            durable: False turns fsync off: for tests, where a power cut may cost the data.
            start_timeout_s: For each of: waiting for another process's start or stop, initdb, the server's answer.
        Raises:
            EmbeddedFailed: Says what is missing or in the way, with the last lines of the server's log.
            InvalidSetting: `extra_settings` names what is not a setting, or one that the server needs itself.
        """
        wish = Wish(bin_dir, dict(extra_settings or {}), durable, start_timeout_s)
        with _told(data_dir), contextlib.ExitStack() as gate:
            places = prepare(_enter(gate, data_dir, start_timeout_s))
            owners.sweep(places.owners)
            owner = Owner.register(places.owners)
            try:
                ensure_watchdog(places)  # before the server: from here on nothing can be left behind
                return cls(places, wish, owner, _running(places, wish))
            except BaseException:
                owner.release()  # the watchdog ends what had begun, unless somebody else owns it
                raise

    @property
    def url(self) -> str:
        """A postgresql:// URL over the Unix socket, for asyncpg, psycopg, SQLAlchemy and libpq; no password."""
        return f"postgresql://{cluster.USER}@/postgres?host={quote(str(self._socket_dir))}&port={PORT}"

    @property
    def version(self) -> str:
        """The running server's version, for example "18.6"."""
        return self._places.version.read_text()

    @property
    def pid(self) -> int | None:
        """The postmaster's pid; None while no server answers."""
        return cluster.pid_in(self._places.cluster / "postmaster.pid") if socket_of(self._places) else None

    @property
    def log_path(self) -> Path:
        """What PostgreSQL prints; past 16 MiB it is moved to `server.log.1` at a start."""
        return self._places.log

    @property
    def data_dir(self) -> Path:
        """The data folder, absolute."""
        return self._places.home

    @property
    def cluster_dir(self) -> Path:
        """PostgreSQL's own data folder: inside `data_dir`, or in the shelter if the server cannot enter that."""
        return self._places.cluster

    def stop(self) -> None:
        """Let go, and stop the server if nobody else owns it. Again, or in a forked process, it does nothing."""
        owner, self._owner = self._owner, None
        if owner is None or not owner.is_here:
            return
        owner.release()
        # Without the gate (a start of somebody else takes long, or the folder was deleted) the watchdog does the rest.
        with (
            contextlib.suppress(TimeoutError, FileNotFoundError),
            held(gate_of(self._places.home), within_s=START_TIMEOUT_S),
        ):
            if owners.living(self._places.owners) is None:
                _halt(self._places, fast_s=_STOP_FAST_S, immediate_s=_STOP_IMMEDIATE_S)
                if self._socket_dir.parent != self._places.base:
                    with contextlib.suppress(OSError):
                        self._socket_dir.rmdir()
        wait_until_off_duty(self._places)

    def crash(self) -> None:
        """End the server at once, as a crash does, under every owner (`pg_ctl stop -m immediate`). For fault tests."""
        with self._gate():
            _halt(self._places, fast_s=0, immediate_s=_STOP_IMMEDIATE_S)

    def restart(self) -> None:
        """Stop the server if it runs, in the fast mode, and start it with this owner's settings, under every owner."""
        with self._gate():
            _halt(self._places, fast_s=_STOP_FAST_S, immediate_s=_STOP_IMMEDIATE_S)
            ensure_watchdog(self._places)
            self._socket_dir = _running(self._places, self._wish)

    def __enter__(self) -> EmbeddedServer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    @contextlib.contextmanager
    def _gate(self) -> Iterator[None]:
        if self._owner is None:
            raise EmbeddedFailed(f"The server of {self._places.home} was stopped by this owner. Call EmbeddedServer.start again.")
        with _told(self._places.home), held(gate_of(self._places.home), within_s=self._wish.start_timeout_s):
            yield


def _enter(gate: contextlib.ExitStack, data_dir: str | Path, within_s: float) -> Path:
    """Make the folder and hold its gate; again when somebody erased the folder between the two."""
    while True:
        home = make_home(data_dir)
        with contextlib.suppress(FileNotFoundError):
            gate.enter_context(held(gate_of(home), within_s=within_s))
            return home


def _running(places: Places, wish: Wish) -> Path:
    """Start or join; returns the folder of the socket that answers. What does not come up is ended again."""
    try:
        ensure_running(places, wish)
        if (socket_dir := socket_of(places)) is None:
            raise EmbeddedFailed(f"PostgreSQL in {places.cluster} answered and then ended. {places.log} says why.")
    except EmbeddedFailed:
        with contextlib.suppress(EmbeddedFailed):
            _halt(places, fast_s=0, immediate_s=_STOP_IMMEDIATE_S)
        raise
    return socket_dir


def _halt(places: Places, *, fast_s: float, immediate_s: float) -> None:
    lock_fd = open_lock(places.server_lock)
    try:
        if not processes.halt(lock_fd, places.token, places.account.uid, fast_s=fast_s, immediate_s=immediate_s):
            raise EmbeddedFailed(f"The server of {places.home} would not end: something that is not visible from here still runs for it.")
    finally:
        os.close(lock_fd)


@contextlib.contextmanager
def _told(data_dir: str | Path) -> Iterator[None]:
    """What the system refused becomes one sentence about the data folder."""
    try:
        yield
    except TimeoutError as error:
        raise EmbeddedFailed(f"Another process is starting or stopping the server of {data_dir}: {error}. Try again, or end it.") from error
    except OSError as error:
        raise EmbeddedFailed(
            f"The data folder {data_dir} cannot be used: {error}. It needs a local disk that this account "
            f"(uid {os.geteuid()}) may write to; set TRUNKLINE_DATA_DIR to another folder."
        ) from error
