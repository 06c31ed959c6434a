"""`trunkline config show` and `trunkline version`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Offline
from tests.model.test_settings import SECRETS
from trunkline.cli.config import rows
from trunkline.errors import InvalidSetting
from trunkline.settings import UNUSED, Settings


def test_each_setting_says_where_it_comes_from(offline: Offline):
    """Its own variable, another system's name for it, or the default."""
    answer = offline("config", "show", "--json", TRUNKLINE_POOL_MAX="7", MAX_CONCURRENT_JOBS="9")
    found = {row["variable"]: row for row in answer.json["settings"]}

    assert 0 == answer.code
    assert {"variable": "TRUNKLINE_POOL_MAX", "value": 7, "unit": None, "source": "environment"} == found["TRUNKLINE_POOL_MAX"]
    assert (9, "environment, as MAX_CONCURRENT_JOBS") == (found["TRUNKLINE_CONCURRENCY"]["value"], found["TRUNKLINE_CONCURRENCY"]["source"])
    assert {"variable": "TRUNKLINE_RETENTION", "value": 2592000.0, "unit": "s", "source": "default"} == found["TRUNKLINE_RETENTION"]


def test_no_password_is_shown(offline: Offline):
    """Neither as text nor as JSON, nor those of registered databases."""
    secrets = {
        "TRUNKLINE_DATABASE_URL": "postgresql://me:s3cret@db/jobs",
        "TRUNKLINE_LISTEN_URL": "postgresql://me@db/jobs?password=s3cret",
        "TRUNKLINE_CONNECTION_SHOP_EU": "mysql://me:s3cret@db/shop",
    }
    text, document = offline("config", "show", **secrets), offline("config", "show", "--json", **secrets)

    assert "s3cret" not in text.out + text.err + document.out + document.err
    assert [{"id": "shop-eu", "url": "mysql://me:***@db/shop"}] == document.json["connections"]
    assert "postgresql://me:***@db/jobs" in text.out and "30 d" in text.out


def test_no_secret_of_any_setting_is_shown(offline: Offline, tmp_path: Path):
    """Each of those that bear one, at once; also where a file has it."""
    file = tmp_path / "token"
    file.write_text("s3cret" * 6)
    given = {
        **{name: value for name, value in SECRETS.items() if name != "TRUNKLINE_METRICS_TOKEN"},
        "TRUNKLINE_METRICS_TOKEN_FILE": str(file),
    }
    text, document = offline("config", "show", **given), offline("config", "show", "--json", **given)
    shown = {row["variable"]: row for row in document.json["settings"]}

    assert (0, 0) == (text.code, document.code)
    assert "s3cret" not in text.out + text.err + document.out + document.err
    assert [] == [name for name in SECRETS if "***" not in shown[name]["value"]]
    assert "file, as TRUNKLINE_METRICS_TOKEN_FILE" == shown["TRUNKLINE_METRICS_TOKEN"]["source"]


def test_a_setting_is_no_registered_database(offline: Offline):
    """Though TRUNKLINE_CONNECTION_HOSTS begins like one."""
    assert [] == offline("config", "show", "--json", TRUNKLINE_CONNECTION_HOSTS="10.0.0.0/8").json["connections"]


def test_a_misspelt_variable_is_found(offline: Offline):
    """It would be silently without effect otherwise."""
    text, document = offline("config", "show", TRUNKLINE_CONCURENCY="50"), offline("config", "show", "--json", TRUNKLINE_CONCURENCY="50")

    assert "warning: TRUNKLINE_CONCURENCY is set and means nothing: did you mean TRUNKLINE_CONCURRENCY?\n" == text.err
    assert ["TRUNKLINE_CONCURENCY"] == document.json["unknown"]


def test_a_process_that_starts_says_it_too(offline: Offline):
    """Of what looks like a setting; what a plug-in of yours reads does not."""
    answer = offline(
        "serve", TRUNKLINE_DATABASE_URL="postgresql://x@127.0.0.1:1/x", TRUNKLINE_CONCURENCY="50", TRUNKLINE_ACME_MAIL_DOMAIN="x"
    )

    assert ["warning: TRUNKLINE_CONCURENCY is set and means nothing: did you mean TRUNKLINE_CONCURRENCY?"] == answer.err.splitlines()[:-1]
    assert answer.err.splitlines()[-1].startswith("error: cannot connect to ")


def test_a_wrong_value_is_named(offline: Offline):
    """Instead of a listing that does not hold."""
    answer = offline("config", "show", TRUNKLINE_POOL_MAX="many")

    assert (1, "") == (answer.code, answer.out)
    assert answer.err.startswith("error: TRUNKLINE_POOL_MAX is 'many'")


def test_every_variable_that_is_shown_is_one_that_is_read():
    """A wrong value in it is refused under the very name that is shown."""
    for row in rows(Settings.load({}), {}):
        if isinstance(row["value"], (int, float)):
            with pytest.raises(InvalidSetting, match=row["variable"]):
                Settings.load({row["variable"]: "x"})


@pytest.mark.filterwarnings("always")
@pytest.mark.parametrize("name", UNUSED)
def test_a_setting_that_is_accepted_and_unused_is_told(offline: Offline, name: str):
    """As one line, without the place in the code that warned."""
    answer = offline("config", "show", **{name: "60"})

    assert answer.err.startswith(f"warning: {name} is set and not used: ")


def test_version_names_everything_that_matters(offline: Offline):
    """For a bug report."""
    document = offline("version", "--json").json

    assert ["trunkline", "python", "asyncpg", "uvloop", "postgresql"] == list(document)
    assert "0.1.0" == document["trunkline"]
    assert document["asyncpg"] in offline("version").out
