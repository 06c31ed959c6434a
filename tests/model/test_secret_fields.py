"""Names of fields that look like secrets: which ones, where they are found, and what is let through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from pydantic import BaseModel

from trunkline import new_job
from trunkline.errors import InvalidPayload, InvalidSetting, SecretInPayload
from trunkline.model.secret_fields import DEFAULT, SecretFields
from trunkline.settings import Settings


class Login(BaseModel):
    user: str
    password: str


@dataclass
class Access:
    api_key: str


class Held(msgspec.Struct):
    tokens: list[dict[str, str]]


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "Password",
        "PASSWORD",
        "api_key",
        "apiKey",
        "API-KEY",
        "x-api-key",
        "client.secret",
        "Private Key",
        "authorization",
        "token",
    ],
)
def test_a_name_is_known_however_it_is_written(name):
    """Case and the characters between words do not count."""
    with pytest.raises(SecretInPayload, match="looks like a secret"):
        new_job("work", {name: "x"})


@pytest.mark.parametrize(
    "name",
    ["token_count", "max_tokens", "tokens", "password_reset", "has_password", "key", "author", "secretary", "monkey", "path", "öl", ""],
)
def test_a_part_of_a_name_does_not_count(name):
    """Only whole names do."""
    assert new_job("work", {name: 1})


@pytest.mark.parametrize(
    "payload, path",
    [
        ({"smtp": {"host": "h", "password": "p"}}, "payload.smtp.password"),
        ({"users": [{"name": "a"}, {"name": "b", "api_key": "k"}]}, "payload.users[1].api_key"),
        ([[{"token": "t"}]], "payload[0][0].token"),
        (Login(user="u", password="p"), "payload.password"),
        ({"login": Login(user="u", password="p")}, "payload.login.password"),
        (Access("k"), "payload.api_key"),
        (Held([{"secret": "s"}]), "payload.tokens[0].secret"),
        (msgspec.Raw(b'{"a": {"pass\\u0077ord": 1}}'), "payload.a.password"),
        ({1: {"token": "t"}}, "payload.1.token"),
    ],
)
def test_the_message_says_where_it_stands_and_not_what_it_is(payload, path):
    """In whatever the payload is made of."""
    with pytest.raises(SecretInPayload) as caught:
        new_job("work", payload)

    assert str(caught.value).startswith(f"{path} looks like a secret")
    assert isinstance(caught.value, InvalidPayload) and "secret_in_payload" == caught.value.code


def test_the_second_payload_of_a_shape_is_refused_as_the_first():
    """What was found harmless is remembered, what was refused is not."""
    for _ in range(3):
        assert new_job("work", {"fine": 1, "too": {"fine": 1}})
        with pytest.raises(SecretInPayload):
            new_job("work", {"fine": 1, "too": {"fine": 1, "token": 2}})


def test_a_call_may_allow_them():
    """For kinds that are encrypted, and for names that are no secrets here."""
    assert '{"token":"t"}' == new_job("work", {"token": "t"}, allow_secrets=True).payload


@pytest.mark.parametrize(
    "setting, refused, taken",
    [
        ("off", [], ["password", "iban"]),
        ("iban", ["IBAN"], ["password"]),
        ("default, iban", ["iban", "password"], ["bic"]),
        ("default", ["pwd"], ["iban"]),
    ],
)
def test_the_list_is_a_setting(app_offline, setting, refused, taken):
    """`default` stands for the built-in names."""
    fields = SecretFields.of(setting)

    for name in refused:
        with pytest.raises(SecretInPayload):
            new_job("work", {name: 1}, secret_fields=fields)
    for name in taken:
        assert new_job("work", {name: 1}, secret_fields=fields)


def test_remembered_names_are_bounded():
    """A producer whose field names are ids must not fill the memory."""
    fields = SecretFields.of("default")
    for n in range(12_000):
        new_job("work", {f"id-{n}": 1, "x" * 200: 1}, secret_fields=fields)

    assert 10_000 == len(fields.harmless)
    with pytest.raises(SecretInPayload):
        new_job("work", {"id-11999": 1, "token": 1}, secret_fields=fields)


@pytest.mark.parametrize("value", [{"$encrypted": "v1"}, {"$encrypted": "v1", "token": "t"}, {"a": 1, "$encrypted": None}], ids=str)
def test_the_name_of_encrypted_payloads_is_kept(value: Any):
    """Also where secrets are allowed; inside a payload it is a name like any other."""
    with pytest.raises(InvalidPayload, match="kept for encrypted payloads"):
        new_job("work", value, allow_secrets=True)
    assert new_job("work", {"inner": {"$encrypted": 1}})


async def test_an_application_goes_by_its_settings(trunkline_url):
    """Also for lists, when they are made with app.new_job."""
    from trunkline import Trunkline

    async with Trunkline(settings=Settings.load({"TRUNKLINE_SECRET_FIELDS": "iban"}, database_url=trunkline_url)) as app:

        @app.job("trusting", allow_secrets=True)
        async def trusting(payload: dict) -> None: ...

        assert await app.enqueue("work", {"password": "not here"})
        assert await app.enqueue("trusting", {"iban": "DE"})
        assert await app.enqueue("work", {"iban": "DE"}, allow_secrets=True)
        assert await app.enqueue_many([app.new_job("trusting", {"iban": "DE"})])
        for enqueue in (lambda: app.enqueue("work", {"iban": "DE"}), lambda: app.enqueue_many([app.new_job("work", {"iban": "DE"})])):
            with pytest.raises(SecretInPayload):
                await enqueue()


async def test_sql_has_the_same_list_and_rule(store, queue):
    """The names, the path, the call that allows them, and the setting of the database."""
    assert sorted(DEFAULT.split(",")) == sorted(await store.fetchval("select trunkline.secret_fields()"))

    for payload, path in (
        ('{"smtp": {"Pass-Word": 1}}', "payload.smtp.Pass-Word"),
        ('{"users": [{}, {"apiKey": "k"}]}', "payload.users[1].apiKey"),
        ('{"pass\\u0077ord": 1}', "payload.password"),
    ):
        with pytest.raises(SecretInPayload, match="looks like a secret") as caught:
            await store.fetch("select trunkline.enqueue('work', $1)", payload)
        assert str(caught.value).startswith(path)
        assert await store.fetchval("select trunkline.enqueue('work', $1, '{\"allow_secrets\": true}')", payload)
    for payload in ('{"token_count": 1, "max_tokens": 2}', '{"text": "my password: token"}', "[1, null]", '"token"'):
        assert await store.fetchval("select trunkline.enqueue('work', $1)", payload)
    for setting, payload, refused in (
        ("off", '{"token": 1}', False),
        ("iban", '{"IBAN": 1}', True),
        ("default,iban", '{"token": 1}', True),
    ):
        async with store.connection() as conn, conn.transaction():
            await conn.execute(f"set local trunkline.secret_fields = '{setting}'")
            assert refused == (await conn.fetchval("select trunkline.secret_path($1)", payload) is not None)


def test_a_list_that_is_too_long_stops_the_start():
    """As every wrong setting does."""
    with pytest.raises(InvalidSetting, match="TRUNKLINE_SECRET_FIELDS"):
        Settings.load({"TRUNKLINE_SECRET_FIELDS": "x" * 20_000})
