"""What ends a job at once, what is tried again, and that neither shows a password."""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from sqlalchemy import Connection as Session

from tests.jobtypes.support import PASSWORD, Database, MySQL, Read
from trunkline.connections import Connection
from trunkline.connections.failures import Cause, ConnectionFailed, cause_of, translated
from trunkline.jobtypes.schema import postgresql, reader
from trunkline.jobtypes.schema.shape import Schemas
from trunkline.model import Fail

WRONG = "Qx9-never-shown-either"


def shown(error: BaseException) -> str:
    """All that a log or a stored traceback could contain."""
    return str(error) + repr(error) + "".join(traceback.format_exception(error))


@contextlib.contextmanager
def answering(reply: bytes | None) -> Iterator[str]:
    """A server on a loopback port that answers the first message with `reply`, or never (None)."""
    with contextlib.ExitStack() as open_ones:
        listening = open_ones.enter_context(socket.create_server(("127.0.0.1", 0)))

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    conn = open_ones.enter_context(listening.accept()[0])
                    conn.recv(4096)
                    if reply is not None:
                        conn.sendall(reply)
                        conn.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        port = listening.getsockname()[1]
        yield f"postgresql://clerk:{PASSWORD}@127.0.0.1:{port}/shop?sslmode=disable&gssencmode=disable"
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(20)


def error_response(sqlstate: str, message: str) -> bytes:
    """What PostgreSQL sends before it closes the door."""
    fields = b"".join(kind + text.encode() + b"\0" for kind, text in ((b"S", "FATAL"), (b"V", "FATAL"), (b"C", sqlstate), (b"M", message)))
    return b"E" + struct.pack("!i", len(fields) + 5) + fields + b"\0"


def test_a_wrong_password_is_final(database: Database, read_now: Read) -> None:
    with pytest.raises(Fail, match=r"the user or the password is wrong.*Correct TRUNKLINE_CONNECTION_SHOP") as ended:
        read_now(database.url.replace(PASSWORD, WRONG))

    assert WRONG not in shown(ended.value)


def test_a_missing_database_is_final(database: Database, read_now: Read) -> None:
    with pytest.raises(Fail, match=r"there is no such database.*database \"nowhere\" does not exist") as ended:
        read_now(database.url.replace(f"/{database.role}?", "/nowhere?"))

    assert PASSWORD not in shown(ended.value)


def test_a_user_that_may_not_connect_is_final(database: Database, read_now: Read) -> None:
    database.execute(f"revoke connect on database {database.role} from public")

    with pytest.raises(Fail, match=r"the user may not connect.*permission denied.*Grant the user what it lacks") as ended:
        read_now(database.url)

    assert PASSWORD not in shown(ended.value)


def test_a_user_that_may_use_no_schema_is_final(database: Database, read_now: Read) -> None:
    """An empty result would look like an empty database."""
    database.execute("revoke usage on schema public from public")

    with pytest.raises(Fail, match=r"may not read there \(no USAGE on any of its 1 schemas: public\)"):
        read_now(database.url)


def test_a_parameter_the_driver_refuses_is_final(database: Database, read_now: Read) -> None:
    with pytest.raises(Fail, match="the URL or the installation does not fit") as ended:
        read_now(database.url + "&no_such_option=1")

    assert PASSWORD not in shown(ended.value)


def test_a_refused_connection_is_tried_again(read_now: Read) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]

    with pytest.raises(ConnectionFailed, match=r"it cannot be reached.*tried again") as failed:
        read_now(f"postgresql://clerk:{PASSWORD}@127.0.0.1:{port}/shop")

    assert PASSWORD not in shown(failed.value)


def test_a_host_without_an_address_is_tried_again(read_now: Read) -> None:
    """Name servers come back."""
    with pytest.raises(ConnectionFailed, match="it cannot be reached") as failed:
        read_now(f"postgresql://clerk:{PASSWORD}@no-such-host.invalid/shop")

    assert PASSWORD not in shown(failed.value)


def test_a_server_that_says_nothing_is_tried_again(read_now: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql, "CONNECT_S", 1)

    with answering(None) as url, pytest.raises(ConnectionFailed, match="it did not answer in time") as failed:
        read_now(url)

    assert PASSWORD not in shown(failed.value)


@pytest.mark.parametrize(
    ("sqlstate", "message", "said"),
    [
        ("57P03", "the database system is starting up", "it is starting"),
        ("57P03", "the database system is not yet accepting connections", "it is starting"),
        ("53300", "sorry, too many clients already", "no connection to spare"),
        ("53300", "remaining connection slots are reserved for roles with SUPERUSER", "no connection to spare"),
        ("08P01", "no more connections allowed (max_client_conn)", "no connection to spare"),
        ("XX000", "something new", "it cannot be reached"),
    ],
)
def test_a_server_that_is_full_or_starting_is_tried_again(sqlstate: str, message: str, said: str, read_now: Read) -> None:
    with answering(error_response(sqlstate, message)) as url, pytest.raises(ConnectionFailed, match=said):
        read_now(url)


def test_a_statement_that_takes_too_long_is_tried_again(database: Database, read_now: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    ordinary = postgresql.schemas

    def slow(session: Session) -> Schemas:
        session.exec_driver_sql("set local statement_timeout = 20; select pg_sleep(30)")
        return ordinary(session)

    monkeypatch.setattr(postgresql, "schemas", slow)

    with pytest.raises(ConnectionFailed, match="it did not answer in time"):
        read_now(database.url)


def test_a_connection_that_is_cut_while_reading_is_tried_again(database: Database) -> None:
    database.execute("create table t (id int)")

    def cut() -> None:
        database.execute(f"select pg_terminate_backend(pid) from pg_stat_activity where usename = '{database.role}'")

    with pytest.raises(ConnectionFailed, match="it is starting, stopping or in recovery") as failed:
        reader.read(Connection("shop", "postgresql", database.url), on_connected=cut, on_table=lambda *_: None)

    assert PASSWORD not in shown(failed.value)


def test_what_the_job_raises_comes_through_as_it_is(database: Database) -> None:
    """Only the driver's errors are translated; a lost lease stays a lost lease."""
    database.execute("create table t (id int)")

    def lost(*_: object) -> None:
        raise TimeoutError("the loop is gone")

    with pytest.raises(TimeoutError, match="the loop is gone"):
        reader.read(Connection("shop", "postgresql", database.url), on_connected=lambda: None, on_table=lost)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sqlite:////{folder}/none.db", "there is no such database"),
        ("sqlite:////{folder}/text.db", "the URL or the installation does not fit"),
    ],
)
def test_an_sqlite_file_that_is_none_is_final(url: str, said: str, tmp_path: Path, read_now: Read) -> None:
    """And no empty file appears where there was none."""
    (tmp_path / "text.db").write_text("this is no database, " * 200)

    with pytest.raises(Fail, match=said):
        read_now(url.format(folder=str(tmp_path).lstrip("/")))

    assert ["text.db"] == [entry.name for entry in tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("user", "password", "name", "said"),
    [
        ("clerk", WRONG, "", "the user or the password is wrong"),
        ("clerk", PASSWORD, "mysql", "the user may not connect or may not read there"),
        ("root", None, "nowhere", "there is no such database"),
    ],
)
def test_mysql_has_the_same_words(mysql: MySQL, read_now: Read, user: str, password: str | None, name: str, said: str) -> None:
    mysql.execute(f"create user if not exists clerk@localhost identified by '{PASSWORD}'")

    with pytest.raises(Fail, match=said) as ended:
        read_now(mysql.url(name, user=user, password=password))

    assert PASSWORD not in shown(ended.value)
    assert WRONG not in shown(ended.value)


def test_a_mysql_server_that_is_not_there_is_tried_again(read_now: Read) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]

    with pytest.raises(ConnectionFailed, match="it cannot be reached") as failed:
        read_now(f"mysql://clerk:{PASSWORD}@127.0.0.1:{port}/shop")

    assert PASSWORD not in shown(failed.value)


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        ('FATAL:  password authentication failed for user "clerk"', Cause.credentials),
        ("FATAL:  SASL authentication failed", Cause.credentials),
        ("FATAL: Tenant or user not found", Cause.credentials),
        ('FATAL:  role "clerk" does not exist', Cause.credentials),
        ('FATAL:  no pg_hba.conf entry for host "10.0.0.1", user "clerk"', Cause.permission),
        ('FATAL:  database "shop" is not currently accepting connections', Cause.permission),
        ("FATAL:  no such database: shop", Cause.missing),
        ("FATAL: Max client connections reached", Cause.crowded),
        ("FATAL:  the database system is in recovery mode", Cause.starting),
        ("FATAL:  terminating connection due to administrator command", Cause.starting),
        ("connection timeout expired", Cause.timeout),
        ("server does not support SSL, but SSL was required", Cause.setup),
        ("SSL error: certificate verify failed", Cause.setup),
        ("server closed the connection unexpectedly", Cause.unreachable),
        ("could not receive data from server: Connection reset by peer", Cause.unreachable),
        ("the moon is wrong", Cause.other),
    ],
)
def test_libpq_and_poolers_are_understood_by_their_words(words: str, cause: Cause) -> None:
    """When the connection itself fails there is no SQLSTATE."""
    assert cause is cause_of(psycopg.OperationalError(words))


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (RuntimeError("'cryptography' package is required for sha256_password auth methods"), Cause.setup),
        (ValueError("invalid literal for int()"), Cause.setup),
        (TypeError("connect() got an unexpected keyword argument"), Cause.setup),
        (ConnectionResetError(104, "Connection reset by peer"), Cause.unreachable),
        (psycopg.errors.InsufficientPrivilege("permission denied for schema secret"), Cause.permission),
        (psycopg.errors.QueryCanceled("canceling statement due to statement timeout"), Cause.timeout),
        (psycopg.errors.ConnectionFailure("gone"), Cause.unreachable),
        (psycopg.errors.UndefinedTable("no such thing"), Cause.other),
    ],
)
def test_errors_that_have_a_class_or_a_code_are_known_by_it(error: Exception, cause: Cause) -> None:
    assert cause is cause_of(error)


@pytest.mark.parametrize("secret", ["p w/d", "a", "ä%"])
def test_a_message_that_contains_the_password_is_left_out(secret: str) -> None:
    """Blanking it would leave its outline in the words around it."""
    connection = Connection("shop", "postgresql", f"postgresql://clerk:{quote(secret, safe='')}@h/d")

    error = translated(psycopg.OperationalError(f"connection failed: bad value {secret}"), connection)

    assert "Cannot read shop (postgresql://clerk:***@h/d): it cannot be reached. It is tried again while attempts are left." == str(error)


def test_a_missing_driver_is_final(database: Database, read_now: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)

    with pytest.raises(Fail, match=r"the URL or the installation does not fit this database .*psycopg"):
        read_now(database.url)
