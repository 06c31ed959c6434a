"""Settings: the environment, other systems' names for them, files with secrets, refusals, and what is never shown."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trunkline.errors import InvalidSetting
from trunkline.settings import ALIASES, Settings, is_secret, mask_url, variable

SECRETS = {  # each with a value that is accepted
    "TRUNKLINE_DATABASE_URL": "postgresql://me:s3cret@db/jobs",
    "TRUNKLINE_LISTEN_URL": "postgresql://me@db/jobs?sslpassword=s3cret",
    "TRUNKLINE_ENCRYPTION_KEYS": "s3cretAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    "TRUNKLINE_JWT_SECRET": "s3cret" * 6,
    "TRUNKLINE_METRICS_TOKEN": "s3cret" * 6,
    "TRUNKLINE_AI_API_KEY": "s3cret",
    "TRUNKLINE_AI_BASE_URL": "https://s3cret@ai.example/v1?api_key=s3cret",
}


@pytest.mark.parametrize(
    ("alias", "value", "field", "expected"),
    [
        ("DATABASE_URL", "postgres://me@db/jobs?schema=public&sslmode=require", "database_url", "postgres://me@db/jobs?sslmode=require"),
        ("SUPABASE_DIRECT_URL", "postgresql://me@db/jobs", "listen_url", "postgresql://me@db/jobs"),
        ("PGBOSS_SCHEMA", "queue", "schema_name", "queue"),
        ("PGBOSS_DELETE_ARCHIVED_AFTER_DAYS", "30", "retention_s", 30 * 86400.0),
        ("MAX_CONCURRENT_JOBS", "7", "concurrency", 7),
        ("JOB_TIMEOUT_MINUTES", "30", "job_timeout_s", 1800.0),
        ("WEBSOCKET_PORT", "5001", "port", 5001),
        ("WEBSOCKET_CORS_ORIGIN", "http://localhost:3000", "origins", ("http://localhost:3000",)),
        ("WEBSOCKET_PING_INTERVAL", "25000", "ping_interval_s", 25.0),
        ("WEBSOCKET_PING_TIMEOUT", "60000", "ping_timeout_s", 60.0),
    ],
)
def test_other_systems_names_count_in_their_own_unit(alias, value, field, expected):
    """Days, minutes and milliseconds of theirs are seconds of ours."""
    assert expected == getattr(Settings.load({alias: value}), field)


def test_every_alias_is_tried_above():
    """A new one needs its line."""
    marks = test_other_systems_names_count_in_their_own_unit.pytestmark
    assert set(ALIASES) == {row[0] for row in marks[0].args[1]}


def test_our_own_name_goes_before_an_alias():
    """Whoever moves over sets ours beside theirs."""
    assert 9 == Settings.load({"MAX_CONCURRENT_JOBS": "5", "TRUNKLINE_CONCURRENCY": "9"}).concurrency


@pytest.mark.parametrize("name", sorted(SECRETS))
def test_a_value_may_stand_in_a_file(name, tmp_path: Path):
    """Where secrets are files: systemd's credentials, containers' secrets."""
    file = tmp_path / "value"
    file.write_text(SECRETS[name] + "\n")

    assert Settings.load({name: SECRETS[name]}) == Settings.load({f"{name}_FILE": str(file)})


@pytest.mark.parametrize(
    ("content", "also", "said"),
    [
        (None, {}, "cannot be read"),
        (b"", {}, "is empty"),
        (b"\xff\xfe", {}, "not UTF-8"),
        (b"x" * 70_000, {}, "too large"),
        (b"postgresql://db/jobs", {"TRUNKLINE_DATABASE_URL": "postgresql://db/other"}, "are both set"),
    ],
)
def test_a_file_that_cannot_be_the_value_stops_the_start(content, also, said, tmp_path: Path):
    """With the name of the variable, and never with what is in the file."""
    file = tmp_path / "value"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(InvalidSetting, match=f"^TRUNKLINE_DATABASE_URL.*{said}"):
        Settings.load({"TRUNKLINE_DATABASE_URL_FILE": str(file), **also})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TRUNKLINE_DATABASE_URL", "me:s3cret@db/jobs"),
        ("TRUNKLINE_DATABASE_URL", "s3cret"),
        ("TRUNKLINE_DATABASE_URL", "mysql://me:s3cret@db/jobs"),
        ("TRUNKLINE_ENCRYPTION_KEYS", "s3cret"),
        ("TRUNKLINE_JWT_SECRET", "s3cret"),
        ("TRUNKLINE_JWT_JWKS_URL", "http://me:s3cret@login.example/keys"),
        ("TRUNKLINE_METRICS_TOKEN", "s3cret"),
        ("TRUNKLINE_AI_BASE_URL", "ftp://me:s3cret@ai.example/v1"),
    ],
)
def test_a_refusal_names_the_variable_and_no_secret(name, value):
    """What was refused ends up in logs."""
    with pytest.raises(InvalidSetting, match=name) as refused:
        Settings.load({name: value})

    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"MAX_CONCURRENT_JOBS": "many"}, r"^MAX_CONCURRENT_JOBS is 'many': .*integer"),
        ({"MAX_CONCURRENT_JOBS": "0"}, r"^MAX_CONCURRENT_JOBS is '0': .*greater than or equal to 1\."),
        ({"JOB_TIMEOUT_MINUTES": "-1"}, r"^JOB_TIMEOUT_MINUTES is '-1', TRUNKLINE_JOB_TIMEOUT '-60\.0': .*greater than 0\."),
        ({"WEBSOCKET_PING_INTERVAL": "soon"}, r"^WEBSOCKET_PING_INTERVAL is 'soon', need a number"),
        ({"WEBSOCKET_PORT": "x", "TRUNKLINE_PORT": "99999"}, r"^TRUNKLINE_PORT is '99999': "),
        ({"DATABASE_URL": "mysql://me:s3cret@db/jobs"}, r"^DATABASE_URL starts with 'mysql'"),
        ({"SUPABASE_DIRECT_URL": "s3cret"}, r"^SUPABASE_DIRECT_URL is no URL"),
    ],
)
def test_a_refusal_names_the_variable_that_was_set(given, said):
    """And not the one of ours that it stands for, which nobody set."""
    with pytest.raises(InvalidSetting, match=said) as refused:
        Settings.load(given)

    assert "s3cret" not in str(refused.value)


def test_what_a_program_gave_is_not_blamed_on_the_environment():
    """An option of the command line goes before a variable, and is what was wrong."""
    with pytest.raises(InvalidSetting, match=r"^TRUNKLINE_PORT is 99999: "):
        Settings.load({"WEBSOCKET_PORT": "3000"}, port=99999)


def test_the_repr_of_settings_shows_no_secret():
    """Somebody will log it."""
    assert "s3cret" not in repr(Settings.load(SECRETS))


def test_every_setting_that_sounds_secret_is_one():
    """A new one is masked from its first day."""
    sounding = [name for name in Settings.model_fields if name.endswith(("_secret", "_token", "_key", "_keys", "_password"))]
    types = {name: str(Settings.model_fields[name].annotation) for name in sounding}

    assert ["jwt_public_key"] == [name for name in sounding if not is_secret(name) and "SecretStr" not in types[name]]
    assert {variable(name) for name in sounding} - {"TRUNKLINE_JWT_PUBLIC_KEY"} <= set(SECRETS)


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("postgresql://me:p@ss@db/jobs", "postgresql://me:***@db/jobs"),
        ("postgresql://me:p@one,two/jobs?password=x&sslkey=/k.pem", "postgresql://me:***@one,two/jobs?password=***&sslkey=/k.pem"),
        ("postgresql://db/jobs?pass%77ord=x&sslPassword=y", "postgresql://db/jobs?pass%77ord=***&sslPassword=***"),
        ("mysql://me@db/shop?passwd=x", "mysql://me@db/shop?passwd=***"),
        ("https://token@host/v1?api_key=k&sig=s&page=2", "https://***@host/v1?api_key=***&sig=***&page=2"),
        ("smtp://me:p@mail:587?auth_token=x", "smtp://me:***@mail:587?auth_token=***"),
    ],
)
def test_a_url_is_shown_without_its_secrets(url, masked):
    """In the address and in the query."""
    assert masked == mask_url(url)


def test_a_file_that_is_a_pipe_without_a_writer_does_not_hold_up_the_start(tmp_path):
    """It is empty; one into which somebody writes is read."""
    os.mkfifo(pipe := tmp_path / "pipe")
    with pytest.raises(InvalidSetting, match="is empty"):
        Settings.load({"TRUNKLINE_PORT_FILE": str(pipe)})
    reading, writing = os.pipe()
    os.write(writing, b"3141\n")
    os.close(writing)

    assert 3141 == Settings.load({"TRUNKLINE_PORT_FILE": f"/dev/fd/{reading}"}).port
    os.close(reading)


def test_the_text_of_a_wrong_file_is_not_shown(tmp_path):
    """Most files that settings name hold secrets, and their names are easily mixed up."""
    (tmp_path / "secret").write_text("hunter2hunter2hunter2")
    with pytest.raises(InvalidSetting, match=r"TRUNKLINE_PORT is \*\*\*") as refused:
        Settings.load({"TRUNKLINE_PORT_FILE": str(tmp_path / "secret")})
    assert "hunter2" not in str(refused.value)
