"""What the doctor asks of our own schema: is it there and current, do its tables stay small, does anything wait in vain.

All of these look at every tenant. Called by: doctor.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

from trunkline.cli import show
from trunkline.cli.doctor.finding import Finding, judged
from trunkline.cli.reach import listed
from trunkline.errors import NotAllowed, SchemaOutdated
from trunkline.store import Store, alerts, batches, inspect, lines
from trunkline.store import migrate as migrations
from trunkline.store import schedules as kept_schedules
from trunkline.store.inspect import MOST, SessionHealth, TableHealth
from trunkline.store.lines import StandingLine

DEAD_ROWS_WARN = 100_000  # autovacuum starts at 5,000 and 2 %: this many means it does not keep up
STANDING_S = 60.0  # a free worker takes a job within a second
PARTITIONS_FAIL_S, PARTITIONS_WARN_S = 86_400.0, 3 * 86_400.0  # ids may lie a day ahead; the hourly duty keeps two weeks


async def schema(store: Store) -> list[Finding]:
    """Whether the schema is what this version needs; "fail" when it cannot be worked with."""
    version = migrations.code_version()
    try:
        async with store.connection() as conn:
            await migrations.check(conn, store.schema)
    except SchemaOutdated as error:
        return [Finding("schema", "fail", f"{store.schema} is not what Trunkline {version} needs", str(error))]
    except NotAllowed as error:
        return [Finding("schema", "fail", f"this role may not use {store.schema}", str(error))]
    outdated = await inspect.outdated_functions(store)
    value = f"{store.schema}, as Trunkline {version} needs it"
    return [
        judged("schema", value, warn=f"functions of another version: {listed(outdated, 5)}. Run: trunkline migrate" if outdated else "")
    ]


async def roles(store: Store) -> list[Finding]:
    """The two roles that keep applications away from what is not theirs."""
    wanted = [f"{store.schema}_worker", f"{store.schema}_app"]
    missing = [name for name in wanted if name not in await inspect.roles(store, wanted)]
    advice = " ".join(f"create role {name} nologin;" for name in missing)
    return [
        judged(
            "roles",
            ", ".join(wanted) if not missing else f"missing: {', '.join(missing)}",
            warn=f"Only the owner can use the schema. As an administrator: {advice} Then run: trunkline migrate" if missing else "",
        )
    ]


async def clocks(store: Store) -> list[Finding]:
    """The clock that our functions ask, and sessions from its future."""
    there, ours = await inspect.clocks(store)
    apart = abs((ours - there).total_seconds())
    ahead = [session.name for session in await inspect.sessions(store) if session.is_ahead]
    value = f"{store.schema}.now() is {show.span(apart)} apart from the server's clock" if apart > 1 else "the server's own"
    advice = ""
    if apart > 1:
        advice = f"A test moved it: put `{store.schema}.now()` back to `select clock_timestamp()`."
    elif ahead:
        advice = f"The server's clock was set back: sessions of {listed(ahead, 3)} began in its future. Their leases last longer than they should."
    return [judged("queue clock", value, warn=advice)]


async def tables(store: Store) -> list[Finding]:
    """The live tables."""
    return [table(found) for found in await inspect.tables(store)]


def table(found: TableHealth) -> Finding:
    """Whether vacuum keeps up with it."""
    vacuumed = f"vacuumed {show.ago(found.vacuumed_at)}" if found.vacuumed_at else "not vacuumed yet"
    bad = found.dead > DEAD_ROWS_WARN and found.dead > found.live
    return judged(
        f"table {found.name}",
        f"{found.live:,} live, {found.dead:,} dead rows, {show.size(found.bytes)}, {vacuumed}",
        warn="Autovacuum does not keep up: look at the oldest transaction above; give it more with autovacuum_max_workers." if bad else "",
    )


async def partitions(store: Store) -> list[Finding]:
    """Whether there is room for the jobs of the next days."""
    return [partitions_until(await inspect.partitions_end(store), datetime.now(UTC))]


def partitions_until(end: datetime | None, now: datetime) -> Finding:
    """The hourly duty of any worker makes them; a schema without a worker runs out."""
    advice = "Start a worker, which makes them by itself, or run: trunkline migrate"
    if end is None:
        return Finding("partitions", "fail", "there are none, so no job can be put in", advice)
    left = (end - now).total_seconds()
    value = f"made until {end:%Y-%m-%d} ({show.ago(end, now)})"
    return judged(
        "partitions",
        value,
        fail=f"Jobs will be refused soon. {advice}" if left < PARTITIONS_FAIL_S else "",
        warn=advice if left < PARTITIONS_WARN_S else "",
    )


async def processes(store: Store) -> list[Finding]:
    """Who is connected, and what the dead left behind."""
    return [processes_of(await inspect.sessions(store), has_ready=await inspect.has_ready(store))]


def processes_of(sessions: Sequence[SessionHealth], *, has_ready: bool) -> Finding:
    """Leases of dead sessions are offered again by any live process; without one they wait, as does what is in line."""
    alive = [session for session in sessions if session.is_alive]
    stranded = [session for session in sessions if not session.is_alive and session.leases]
    jobs = sum(session.leases for session in stranded)
    value = f"{show.count(len(alive), 'process', 'processes')} connected"
    if not stranded:
        return judged("processes", value, warn="Jobs are in line and nobody works: start a worker." if has_ready and not alive else "")
    who = listed([session.name for session in stranded], 3)
    advice = "They are offered again within 10 s." if alive else "Start a worker: it offers them again within 10 s."
    return Finding("processes", "warn", f"{value}; {show.count(jobs, 'job')} held by processes that went away: {who}", advice)


async def raised(store: Store) -> list[Finding]:
    """Alerts."""
    found = await alerts.alerts(store, None, only_active=True)
    said = ["/".join(filter(None, (row.tenant, row.subject))) for row in found]
    value = listed([f"{row.name} {subject}" for row, subject in zip(found, said, strict=True)], 5)
    return [judged("alerts", value, warn="See what each says: trunkline alerts" if found else "")]


async def waiting(store: Store) -> list[Finding]:
    """Jobs that nobody will run as things are."""
    is_worked_on = any(session.is_alive for session in await inspect.sessions(store))
    return [
        standing(await lines.standing(store, STANDING_S), is_worked_on=is_worked_on),
        kinds(
            "jobs without handler",
            await inspect.no_handler(store),
            "Workers took them and had no handler: declare the kinds, then start those workers.",
        ),
        kinds(
            "undeclared kinds",
            await inspect.undeclared(store),
            "No worker has ever declared them: a misspelt kind, or a worker that was never started.",
        ),
        paused(await inspect.paused(store)),
        paused_beside_queues(await inspect.paused_beside_queues(store)),
        open_batches(await batches.abandoned(store)),
        dead(*await inspect.dead_letters(store)),
    ]


def standing(found: Sequence[StandingLine], *, is_worked_on: bool) -> Finding:
    """Lines whose first job has waited for long: without anybody who takes it, or behind too many others."""
    said = [
        f"{line.tenant}/{line.queue} {_bounded(line.jobs)} for {show.span(line.waited_s)}, {_bounded(line.running)} running"
        for line in found
    ]
    alone = [line.queue for line in found if not line.running and not line.has_sleeper]
    advice = "More comes in than gets done, or jobs take long: start more workers, or raise TRUNKLINE_CONCURRENCY."
    if alone:
        advice = f"No connected worker seems to serve {listed(alone, 5)}: start one whose handlers have the queue, or look at its --queues."
    return judged("standing lines", listed(said, 5), warn=advice if found and is_worked_on else "")  # without any, `processes` says so


def kinds(check: str, found: Sequence[tuple[str, str, int]], advice: str) -> Finding:
    """Jobs by kind."""
    said = [f"{tenant}/{kind} {_bounded(count)}" for tenant, kind, count in found]
    return judged(check, listed(said, 5), warn=advice if found else "")


def paused(found: Sequence[tuple[str, str, datetime, int]]) -> Finding:
    """Paused queues that hold jobs back."""
    holding = [f"{tenant}/{queue} {_bounded(count)} since {show.ago(since)}" for tenant, queue, since, count in found if count]
    empty = len(found) - len(holding)
    value = listed(holding, 5) + (f"; {show.count(empty, 'more paused queue')} without jobs" if empty else "")
    return judged("paused queues", value, warn="Let them go on: trunkline queues resume NAME" if holding else "")


def paused_beside_queues(found: Sequence[tuple[str, str, str, int]]) -> Finding:
    """Paused tenants, kinds and limit keys that hold jobs back."""
    holding = [
        f"{tenant}/{' '.join(filter(None, (scope, show.short(name, 60))))} {_bounded(count)}"
        for tenant, scope, name, count in found
        if count
    ]
    empty = len(found) - len(holding)
    value = listed(holding, 5) + (f"; {show.count(empty, 'more pause')} without jobs" if empty else "")
    advice = "Let them go on: trunkline limits resume --everything, --kind NAME or --key NAME, with --tenant"
    return judged("other pauses", value, warn=advice if holding else "")


def open_batches(found: Sequence[tuple[str, UUID, datetime]]) -> Finding:
    """Batches that are still being filled after an hour; the process that did it may have died."""
    said = [f"{tenant}/{batch} opened {show.ago(at)}" for tenant, batch, at in found]
    advice = "If nobody fills them any more, end them: trunkline batches cancel ID"
    return judged("open batches", listed(said, 5), warn=advice if found else "")


def dead(count: int, oldest: datetime | None) -> Finding:
    """Jobs that ended failed."""
    value = f"{_bounded(count)}, the oldest {show.ago(oldest)}" if count else "none"
    return judged("dead letters", value, warn="Look at them: trunkline dead-letters list" if count else "")


def _bounded(count: int) -> str:
    return f"{MOST:,} or more" if count >= MOST else f"{count:,}"


async def schedules(store: Store) -> list[Finding]:
    """Whether what should be fired is fired."""
    count, trouble = await kept_schedules.trouble(store)
    findings = [
        Finding(
            "schedule",
            "warn",
            show.short(f"{tenant}/{name}: {error or f'due {show.span(late_s or 0)} ago and not fired'}", 300),
            f"Look at it: trunkline schedules show {name}" if error else "Worker processes fire schedules: start one.",
        )
        for tenant, name, error, late_s in trouble
    ]
    return findings or [Finding("schedules", "ok", f"{count} of them, none in trouble" if count else "none")]
