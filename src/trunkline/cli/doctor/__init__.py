"""`trunkline doctor`: is this installation fit to work, and if not, what to do.

Always true: it writes nothing but one notification to itself; each check stands alone, so one that cannot be made becomes a
line and the others still run; the exit code is 1 when a line says fail.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import typer

from trunkline.cli import show
from trunkline.cli.options import Json
from trunkline.cli.run import carry_out, in_words

if TYPE_CHECKING:
    from trunkline.cli.doctor.finding import Finding
    from trunkline.store import Store

NAMES = {"room": "connections", "clocks": "queue clock", "waiting": "waiting jobs"}  # of checks that could not be made
STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def doctor(as_json: Json = False) -> None:
    """Check the server, the schema and the queues; say what to do about what is wrong."""
    from trunkline.cli.doctor.finding import SEVERITY

    findings, room = carry_out(_examine(as_json=as_json), as_json=as_json)
    worst = max((finding.status for finding in findings), key=SEVERITY.__getitem__)
    if as_json:
        show.emit({"status": worst, "findings": [finding.to_dict() for finding in findings], "storage": room})
    else:
        _print(findings)
    if worst == "fail":
        raise typer.Exit(1)


async def _examine(*, as_json: bool) -> tuple[list[Finding], dict[str, Any] | None]:
    """The findings, and for machines the numbers of the storage, where they could be read."""
    from trunkline.cli.doctor.finding import Finding
    from trunkline.cli.reach import database, load_settings
    from trunkline.errors import TrunklineError
    from trunkline.store import Store

    settings = load_settings()
    try:
        async with database(settings, make=False, quiet=as_json) as reached:
            store = await Store.connect(reached.settings)
            try:
                found = await (_checks(store) if as_json else show.patiently(_checks(store), "Looking"))
                return found, await _room(store) if as_json else None
            finally:
                await store.close()
    except TrunklineError as error:
        return [Finding("connection", "fail", show.masked(settings.database_url or settings.data_dir), str(error))], None


async def _room(store: Store) -> dict[str, Any] | None:
    from trunkline.cli.doctor.storage import document
    from trunkline.errors import NotAllowed, SchemaOutdated
    from trunkline.store import history, migrate

    try:
        async with store.connection() as conn:
            await migrate.check(conn, store.schema)
    except (SchemaOutdated, NotAllowed):
        return None
    return document(await history.storage(store), store.settings.retention_s)


async def _checks(store: Store) -> list[Finding]:
    from trunkline.cli.doctor import queue, server, storage

    findings: list[Finding] = []

    async def make(name: str, check: Callable[[], Awaitable[list[Finding]]]) -> list[Finding]:
        found = await _made(name, check)
        findings.extend(found)
        return found

    await make("server", lambda: server.server(store))
    await make("settings", lambda: server.settings(store))
    await make("oldest transaction", lambda: server.pins(store))
    (schema,) = await make("schema", lambda: queue.schema(store))
    if schema.status == "fail":
        return findings
    checks = (
        queue.roles,
        queue.clocks,
        queue.tables,
        storage.storage,
        queue.partitions,
        queue.processes,
        server.room,
        queue.waiting,
        queue.raised,
        queue.schedules,
    )
    for check in checks:
        await make(NAMES.get(check.__name__, check.__name__), lambda check=check: check(store))  # type: ignore[misc]
    return findings


async def _made(name: str, check: Callable[[], Awaitable[list[Finding]]]) -> list[Finding]:
    from trunkline.cli.doctor.finding import Finding

    try:
        return await check()
    except Exception as error:
        if (told := in_words(error)) is None:
            raise
        return [Finding(name, "warn", "could not be looked at", told[0])]


def _print(findings: list[Finding]) -> None:
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for finding in findings:
        style = STYLES[finding.status]
        said = Text(show.visible(finding.value))
        if finding.advice:
            said.append(f"\n{show.visible(finding.advice)}", style="yellow" if finding.status == "warn" else "red")
        grid.add_row(Text(finding.status, style=style), Text(finding.check, style="bold"), said)
    show.draw(grid)
    counts = [(sum(finding.status == status for finding in findings), status) for status in ("ok", "warn", "fail")]
    show.say("\n" + ", ".join(f"{number} {status}" for number, status in counts if number) + ".", style="bold")
