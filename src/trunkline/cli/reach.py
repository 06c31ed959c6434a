"""Which database a command means, and the open application on it.

TRUNKLINE_DATABASE_URL, or else the embedded PostgreSQL of TRUNKLINE_DATA_DIR, which is joined when it runs and started for the
time of the command when it does not.
Always true: only `up`, `worker` and `migrate` make a database where there is none; asking for a tenant by name never makes
one; everything that was opened is closed again.
Called by: every command that talks to a database.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from trunkline.cli import show
from trunkline.errors import EmbeddedFailed, NotFound

if TYPE_CHECKING:
    from trunkline.app import Trunkline
    from trunkline.embedded import EmbeddedServer
    from trunkline.settings import Settings

LOG_LEVEL = "TRUNKLINE_LOG_LEVEL"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reached:
    """A database: `settings` name its URL; `server` is the embedded one, or None."""

    settings: Settings
    server: EmbeddedServer | None

    @property
    def url(self) -> str:
        """Its URL, passwords and all."""
        assert self.settings.database_url is not None
        return self.settings.database_url


def load_settings(**overrides: Any) -> Settings:
    """The environment's settings, and logs as they ask for: warnings only, unless a level was asked for."""
    from trunkline.observe import logs
    from trunkline.settings import Settings

    settings = Settings.load(**overrides)
    logs.set_up(settings.log_level if os.environ.get(LOG_LEVEL) else "warning", settings.log_format)
    return settings


@asynccontextmanager
async def database(settings: Settings, *, make: bool, quiet: bool = False) -> AsyncIterator[Reached]:
    """The database of `settings`, for as long as the block runs.

    Args:
        make: whether an embedded one may be made; else its absence is refused.
        quiet: say nothing while it starts.
    Raises:
        EmbeddedFailed: it is not there, is busy, or does not start.
    """
    if settings.database_url is not None:
        yield Reached(settings, None)
        return
    server = await _start(settings, make=make, quiet=quiet)
    try:
        from trunkline.auth import mode_of  # said once here: the application on it only sees a URL

        known = {"database_url": server.url, "env": mode_of(settings, is_embedded=True)}
        yield Reached(settings.model_copy(update=known), server)
    finally:
        await asyncio.to_thread(server.stop)


@asynccontextmanager
async def application(*, as_json: bool = False, **overrides: Any) -> AsyncIterator[Trunkline]:
    """An open application without handlers, for one command."""
    from trunkline.app import Trunkline

    settings = load_settings(**overrides)
    async with database(settings, make=False, quiet=as_json) as reached:
        # Two connections are enough for one command, and other processes may need the rest.
        app = Trunkline(settings=reached.settings.model_copy(update={"pool_max": 2}))
        try:
            await app.open(migrate=True if reached.server else None)
            yield app
        finally:
            await app.close()


async def existing_tenant(app: Trunkline, name: str | None) -> int:
    """The id of a tenant that is there; the default one is made on first use.

    Raises:
        NotFound: there is no such tenant; names those there are.
    """
    from trunkline.store import inspect

    if name is None or name == app.settings.tenant:
        return await app.tenant_id(None)
    known = await inspect.tenants(app.store)
    if name not in known:
        raise NotFound(f"there is no tenant {name!r}. There are: {listed(known)}.")
    return known[name]


def listed(names: object, most: int = 10) -> str:
    """`a, b, c`, and `…` when there are more than `most`; `none` for nothing."""
    every = [show.short(name, 60) for name in names]  # type: ignore[attr-defined]
    return ", ".join(every[:most]) + (", …" if len(every) > most else "") if every else "none"


async def _start(settings: Settings, *, make: bool, quiet: bool) -> EmbeddedServer:
    from trunkline.embedded import EmbeddedServer

    folder, is_new = _folder(settings)
    if is_new and not make:
        raise EmbeddedFailed(
            f"there is no database: TRUNKLINE_DATABASE_URL is not set and {folder} holds no embedded one. "
            "Set the variable, go to the folder where `trunkline up` runs, or start one with: trunkline up"
        )
    start = _in_daemon(lambda: EmbeddedServer.start(folder, bin_dir=settings.pg_bin_dir))
    if quiet:
        return await start
    doing = (
        f"Making a PostgreSQL database in {folder} (the first start takes some seconds)" if is_new else f"Starting PostgreSQL in {folder}"
    )
    if is_new and not show.console(stderr=True).is_terminal:
        show.hint(doing)
    return await show.patiently(start, doing)


async def _in_daemon(work: Callable[[], T]) -> T:
    """The answer of blocking `work`. Not asyncio.to_thread: a command that is interrupted would wait for its thread to end."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def tell(value: T | None, error: BaseException | None) -> None:
        if answer.done():
            return
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(cast(T, value))

    def run() -> None:
        value, failed = None, None
        try:
            value = work()
        except BaseException as error:  # noqa: BLE001 - it is raised where it is awaited
            failed = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(tell, value, failed)

    threading.Thread(target=run, daemon=True, name="trunkline-start").start()
    return await answer


def _folder(settings: Settings) -> tuple[Path, bool]:
    """The data folder, and whether nothing was ever made in it."""
    folder = Path(settings.data_dir).expanduser().resolve()
    return folder, not (folder / "id").exists()
