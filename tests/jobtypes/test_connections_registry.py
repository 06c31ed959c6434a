"""A connectionId becomes a URL that only the environment knows."""

from __future__ import annotations

import pytest

from trunkline.connections import Connection, resolve, variable_of
from trunkline.errors import InvalidInput, InvalidSetting, NotFound

SECRET = "Zy7-never-shown"
SHOP = {"TRUNKLINE_CONNECTION_SHOP": f"postgresql://clerk:{SECRET}@db.example.com:5432/shop"}


@pytest.mark.parametrize(
    ("connection_id", "variable"),
    [
        ("shop", "TRUNKLINE_CONNECTION_SHOP"),
        ("Shop-EU.2", "TRUNKLINE_CONNECTION_SHOP_EU_2"),
        ("0190a0c4-7b1e", "TRUNKLINE_CONNECTION_0190A0C4_7B1E"),
        ("zürich", "TRUNKLINE_CONNECTION_Z_RICH"),
    ],
)
def test_an_id_names_a_variable(connection_id: str, variable: str) -> None:
    """Upper case, and everything but ASCII letters and digits becomes an underscore."""
    assert variable == variable_of(connection_id)


def test_a_registered_id_resolves() -> None:
    found = resolve("shop", SHOP)

    assert (found.id, found.dialect, found.url) == ("shop", "postgresql", SHOP["TRUNKLINE_CONNECTION_SHOP"])


@pytest.mark.parametrize(
    ("url", "dialect"),
    [
        ("postgres://u@h/d", "postgresql"),
        ("POSTGRESQL://u@h/d", "postgresql"),
        ("mysql://u@h/d", "mysql"),
        ("sqlite:////data/shop.db", "sqlite"),
    ],
)
def test_these_schemes_are_accepted(url: str, dialect: str) -> None:
    assert dialect == resolve("shop", {"TRUNKLINE_CONNECTION_SHOP": url}).dialect


def test_an_unknown_id_names_the_variable_to_set() -> None:
    with pytest.raises(NotFound, match=r"'shop-eu' is unknown: none .* is registered .*TRUNKLINE_CONNECTION_SHOP_EU is not set"):
        resolve("shop-eu", SHOP)


def test_the_environment_is_read_at_each_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUNKLINE_CONNECTION_SHOP", "sqlite:////data/shop.db")

    assert "sqlite:////data/shop.db" == resolve("shop").url


@pytest.mark.parametrize(
    "connection_id",
    [
        f"postgresql://clerk:{SECRET}@h/d",
        f"jdbc:mysql:clerk/{SECRET}",
        f"host=h password={SECRET}",
        f"clerk:{SECRET}@h",
        "file:shop.db",
    ],
)
def test_an_id_that_looks_like_a_url_is_refused_and_not_repeated(connection_id: str) -> None:
    """It stands in a stored payload; the message must not spread it further."""
    with pytest.raises(InvalidInput) as refused:
        resolve(connection_id, SHOP)

    assert "looks like a database URL" in str(refused.value)
    assert SECRET not in str(refused.value)
    assert connection_id not in str(refused.value)


@pytest.mark.parametrize("connection_id", ["", "---", "é", "x" * 101])
def test_an_id_that_cannot_name_a_variable_is_refused(connection_id: str) -> None:
    with pytest.raises(InvalidInput, match=f"connectionId has {len(connection_id)} characters, need 1 to 100"):
        resolve(connection_id, SHOP)


@pytest.mark.parametrize(
    "url",
    [
        f"oracle://clerk:{SECRET}@h/d",
        f"postgresql+asyncpg://clerk:{SECRET}@h/d",
        SECRET,
        f"postgresql://clerk:{SECRET}@more@h/d",
        f"postgresql://clerk:{SECRET}/more@h/d",
        f"postgresql://clerk:{SECRET}#more@h/d",
        f"postgresql://clerk:{SECRET}?more@h/d",
        f"postgresql://clerk:{SECRET}@h:port/d",
        f"postgresql://clerk:{SECRET}@[h/d",
        f"mysql://clerk:{SECRET}@h/d#more",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:shop.db",
    ],
)
def test_a_url_that_cannot_be_read_is_refused_and_not_repeated(url: str) -> None:
    """Drivers cut a URL with a bare special character at different places, and then print a piece of the password."""
    with pytest.raises(InvalidSetting, match="TRUNKLINE_CONNECTION_SHOP") as refused:
        resolve("shop", {"TRUNKLINE_CONNECTION_SHOP": url})

    assert SECRET not in str(refused.value)
    assert refused.value.__context__ is None


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://u@h/d?schema=public&sslmode=require", "postgresql://u@h/d?sslmode=require"),
        ("postgresql://u@h/d?pgbouncer=true&connection_limit=1", "postgresql://u@h/d"),
        ("postgresql:///d?host=/run/pg&schema=x", "postgresql:///d?host=%2Frun%2Fpg"),
        ("postgresql://u@h/d?sslmode=require", "postgresql://u@h/d?sslmode=require"),
    ],
)
def test_parameters_of_orms_are_left_out(url: str, expected: str) -> None:
    """libpq refuses a parameter it does not know."""
    assert expected == resolve("shop", {"TRUNKLINE_CONNECTION_SHOP": url}).url


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        (f"postgresql://clerk:{SECRET}@h:5432/d", "postgresql://clerk:***@h:5432/d"),
        (f"postgresql:///d?user=clerk&password={SECRET}", "postgresql:///d?user=clerk&password=***"),
        (f"postgresql://h/d?sslpassword={SECRET}", "postgresql://h/d?sslpassword=***"),
        ("sqlite:////data/shop.db", "sqlite:////data/shop.db"),
    ],
)
def test_a_connection_shows_itself_without_its_password(url: str, masked: str) -> None:
    connection = resolve("shop", {"TRUNKLINE_CONNECTION_SHOP": url})

    assert masked == connection.masked
    assert f"shop ({masked})" == str(connection)
    assert SECRET not in repr(connection)


def test_the_secrets_are_the_password_as_written_and_as_decoded() -> None:
    """A driver decodes it before it may repeat it."""
    connection = Connection("shop", "mysql", "mysql://clerk:a%40b+c@h/d")

    assert {"a%40b+c", "a@b+c", "a@b c"} == connection.secrets
