"""What the doctor asks of PostgreSQL itself: version, distance, durability, room, and what holds vacuum back.

All but `room` work without our schema. Thresholds stand beside their names.
Called by: doctor.
"""

from __future__ import annotations

from collections.abc import Mapping

from trunkline.cli import show
from trunkline.cli.doctor.finding import Finding, judged
from trunkline.store import Store, inspect
from trunkline.store.inspect import Pin, Server

OLDEST_MAJOR, NEWEST_MAJOR = 15, 18
SLOW_ROUND_TRIP_S = 0.01  # each enqueue, claim and report pays it at least once
CLOCK_WARN_S, CLOCK_FAIL_S = 5.0, 82_800.0  # the time in an id is the client's, and refused 24 h away from the server's
OLD_SNAPSHOT_S = 300.0  # measured: claims stay fast for minutes under an old snapshot, tables grow all the while
OLD_SLOT_AGE = 1_000_000  # transactions
IN_USE_WARN = 0.8  # share of the connections that clients may open
SETTINGS = (
    "fsync",
    "full_page_writes",
    "synchronous_commit",
    "autovacuum",
    "wal_level",
    "max_connections",
    "superuser_reserved_connections",
    "reserved_connections",
)


async def server(store: Store) -> list[Finding]:
    """Version, pooler, round trip, clocks."""
    found = await inspect.server(store)
    return [
        version(found),
        round_trip(await inspect.round_trip_s(store)),
        clock(await inspect.clock_ahead_s(store)),
        await listen(store, found),
    ]


def version(found: Server) -> Finding:
    """15 to 18 are tested; a newer one probably works."""
    value = f"PostgreSQL {found.version}, database {found.database}, role {found.role}, up for {show.span(found.up_for.total_seconds())}"
    too_old = found.major < OLDEST_MAJOR
    return judged(
        "server",
        value,
        fail=f"Trunkline needs PostgreSQL {OLDEST_MAJOR} or newer: upgrade the server." if too_old else "",
        warn=f"Tested with {OLDEST_MAJOR} to {NEWEST_MAJOR}: try it with your jobs before you rely on it."
        if found.major > NEWEST_MAJOR
        else "",
    )


def round_trip(seconds: float) -> Finding:
    """How far away the database is."""
    return judged(
        "round trip",
        f"{seconds * 1000:.2f} ms",
        warn="Every enqueue, claim and report waits this long at least: run workers near the database."
        if seconds > SLOW_ROUND_TRIP_S
        else "",
    )


def clock(ahead_s: float) -> Finding:
    """The client's clock against the server's."""
    apart = abs(ahead_s)
    advice = "Let both machines follow NTP: the id and the run time of a job are made by the clock of whoever enqueues it."
    return judged(
        "clock",
        f"{show.span(apart)} apart from this machine's",
        fail=advice if apart > CLOCK_FAIL_S else "",
        warn=advice if apart > CLOCK_WARN_S else "",
    )


async def listen(store: Store, found: Server) -> Finding:
    """A signal to ourselves, the way a worker would hear it."""
    came_after_s = await inspect.hear_itself(store)
    through = "TRUNKLINE_LISTEN_URL" if store.settings.listen_url else "TRUNKLINE_DATABASE_URL"
    pooled = ", through a connection pooler" if found.is_behind_pooler else ""
    if came_after_s is None:
        return Finding(
            "signals",
            "fail",
            f"a notification did not arrive through {through}{pooled}",
            "A transaction-mode pooler drops LISTEN: set TRUNKLINE_LISTEN_URL to a direct or session-mode connection. "
            "Until then a job is found by the poll, up to a second later.",
        )
    hint = ""
    if found.is_behind_pooler and not store.settings.is_pooled:
        hint = "If the pooler is in transaction mode, set TRUNKLINE_LISTEN_URL to a direct connection: named statements are off then."
    return judged("signals", f"a notification arrived after {show.span(came_after_s)}{pooled}", warn=hint)


async def settings(store: Store) -> list[Finding]:
    """The server's settings that decide what Trunkline can promise."""
    found = await inspect.settings(store, SETTINGS)
    return [*durability(found), vacuum(found), wal(found)]


def durability(found: Mapping[str, str]) -> list[Finding]:
    """Whether what was accepted survives a crash."""
    commit = found.get("synchronous_commit", "on")
    return [
        judged(
            "fsync",
            ", ".join(f"{name} {found.get(name)}" for name in ("fsync", "full_page_writes")),
            fail="A crash of the machine can destroy the whole database: set it on, then restart."
            if "off" in (found.get("fsync"), found.get("full_page_writes"))
            else "",
        ),
        judged(
            "synchronous_commit",
            commit,
            warn="A crash can lose jobs that were accepted and reports that were confirmed: set it on." if commit == "off" else "",
        ),
    ]


def vacuum(found: Mapping[str, str]) -> Finding:
    """Without autovacuum a queue only grows."""
    value = found.get("autovacuum", "?")
    return judged("autovacuum", value, fail="A queue's tables grow without end: set autovacuum = on." if value == "off" else "")


def wal(found: Mapping[str, str]) -> Finding:
    """For information."""
    value = found.get("wal_level", "?")
    return Finding("wal_level", "ok", value + (" (least to write; no replicas, no point-in-time recovery)" if value == "minimal" else ""))


async def room(store: Store) -> list[Finding]:
    """Connections in use and wanted by our processes. Asks our schema who they are."""
    found = await inspect.settings(store, SETTINGS)
    ours, everybody = await inspect.connections(store)
    processes = sum(session.is_alive for session in await inspect.sessions(store))
    return [connections(found, ours, everybody, processes, store.settings.pool_max)]


def connections(found: Mapping[str, str], ours: int, everybody: int, processes: int, pool_max: int) -> Finding:
    """Whether every process can open what it may."""
    reserved = int(found.get("superuser_reserved_connections", 0)) + int(found.get("reserved_connections", 0))
    allowed = int(found["max_connections"]) - reserved
    each = pool_max + 1  # and one to listen
    value = f"{everybody} of {allowed} in use, {ours} by Trunkline; each process may open {each}"
    advice = ""
    if everybody > allowed * IN_USE_WARN:
        advice = "Nearly none is left: raise max_connections, or lower TRUNKLINE_POOL_MAX."
    elif processes * each > allowed:
        advice = f"{processes} processes could ask for {processes * each}: lower TRUNKLINE_POOL_MAX to {max(allowed // max(processes, 1) - 1, 2)}."
    return judged("connections", value, warn=advice)


async def pins(store: Store) -> list[Finding]:
    """What keeps dead rows from being cleared away."""
    sees_all = (await inspect.server(store)).sees_all
    blind = "" if sees_all else " (as far as this role sees: grant pg_monitor to it)"
    return [
        transaction(await inspect.oldest_pin(store, "transaction"), blind),
        prepared(await inspect.oldest_pin(store, "prepared")),
        slot(await inspect.oldest_pin(store, "slot")),
    ]


def transaction(pin: Pin | None, blind: str = "") -> Finding:
    """The oldest snapshot."""
    if pin is None or pin.seconds is None:
        return Finding("oldest transaction", "ok", f"none is open{blind}")
    value = f"{show.span(pin.seconds)}, {pin.age} transactions back: {show.short(pin.who, 120)}{blind}"
    pid = pin.who.split(",")[0].removeprefix("pid ")
    advice = f"Nothing that was deleted since can be cleared away: end it, or `select pg_terminate_backend({pid})`."
    return judged("oldest transaction", value, warn=advice if pin.seconds > OLD_SNAPSHOT_S else "")


def prepared(pin: Pin | None) -> Finding:
    """The oldest prepared transaction: it survives restarts, and nobody sees it in a list of sessions."""
    if pin is None or pin.seconds is None:
        return Finding("prepared transactions", "ok", "none")
    advice = f"Its coordinator forgot it: `rollback prepared '{pin.who}'`, or commit it."
    return judged("prepared transactions", f"{pin.who}, {show.span(pin.seconds)} old", warn=advice if pin.seconds > OLD_SNAPSHOT_S else "")


def slot(pin: Pin | None) -> Finding:
    """The replication slot that holds the oldest row versions."""
    if pin is None:
        return Finding("replication slots", "ok", "none holds rows back")
    advice = f"Its reader is behind or gone: bring it back, or `select pg_drop_replication_slot('{pin.who.split(' ')[0]}')`."
    return judged("replication slots", f"{pin.who}, {pin.age} transactions back", warn=advice if pin.age > OLD_SLOT_AGE else "")
