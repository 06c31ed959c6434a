"""`trunkline keys`, and what other commands show of encrypted jobs."""

from __future__ import annotations

from uuid import UUID

import pytest
from cryptography.fernet import Fernet

from tests.cli.conftest import Cli, Offline
from trunkline import Trunkline
from trunkline.settings import Settings

KEYS = "TRUNKLINE_ENCRYPTION_KEYS"
OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()


@pytest.fixture
async def job_id(trunkline_url: str) -> UUID:
    """An encrypted job that completed."""
    async with Trunkline(settings=Settings.load({}, database_url=trunkline_url, encryption_keys=OLD)) as app:

        @app.job("charge", encrypt=True)
        async def charge(payload: dict) -> dict:
            return {"receipt": "for hunter2"}

        await app.start_worker()
        await app.wait(job_id := await app.enqueue("charge", {"password": "hunter2"}), 30)
        return job_id


def test_a_generated_key_is_one_that_is_accepted(offline: Offline):
    """As text alone on standard output, so that a script can take it."""
    answer = offline("keys", "generate")

    assert (answer.out.strip(),) == Settings.load({KEYS: answer.out.strip()}).keys
    assert answer.out != offline("keys", "generate").out
    assert Settings.load({KEYS: offline("keys", "generate", "--json").json["key"]}).keys


def test_no_command_shows_a_key(offline: Offline):
    """Neither the listing of settings nor an error about them."""
    listing, document = offline("config", "show", **{KEYS: f"{NEW},{OLD}"}), offline("config", "show", "--json", **{KEYS: OLD})
    wrong = offline("config", "show", **{KEYS: OLD[:-2]})

    assert {"variable": KEYS, "value": "***", "unit": None, "source": "environment"} in document.json["settings"]
    assert 1 == wrong.code and wrong.err.startswith(f"error: {KEYS} cannot be used: key 1 is no key")
    assert OLD[:20] not in listing.out + document.out + wrong.err


async def test_jobs_show_opens_what_is_encrypted_only_when_asked(cli: Cli, job_id: UUID):
    """And only with the key."""
    hidden, shown = (
        await cli("jobs", "show", str(job_id), **{KEYS: OLD}),
        await cli("jobs", "show", str(job_id), "--decrypt", **{KEYS: OLD}),
    )
    document = await cli("jobs", "show", str(job_id), "--decrypt", "--json", **{KEYS: OLD})
    listed = await cli("jobs", "list", "--json", **{KEYS: OLD})
    without, other = await cli("jobs", "show", str(job_id), "--decrypt"), await cli("jobs", "show", str(job_id), "--decrypt", **{KEYS: NEW})

    assert "hunter2" not in hidden.out + listed.out + other.out and "encrypted" in hidden.out and "encrypted" in other.out
    assert "hunter2" in shown.out and "for hunter2" in shown.out
    assert ({"password": "hunter2"}, {"receipt": "for hunter2"}) == (document.json["payload"], document.json["result"])
    assert {"$encrypted": "v1"} == listed.json["jobs"][0]["payload"]
    assert (1, True) == (without.code, f"{KEYS} is not set" in without.err)


async def test_check_and_rotate_say_what_is_under_which_key(cli: Cli, job_id: UUID):
    """The order of an operator: look, rotate, look, drop the old key."""
    both = {KEYS: f"{NEW},{OLD}"}
    before, rotated, after = (
        await cli("keys", "check", **both),
        await cli("keys", "rotate", "--json", **both),
        await cli("keys", "check", **both),
    )
    alone = await cli("jobs", "show", str(job_id), "--decrypt", **{KEYS: NEW})

    assert [0, 0, 0] == [before.code, rotated.code, after.code]
    assert "number 2" in before.out and "number 2" not in after.out and "first" in after.out
    assert 2 == rotated.json["rotated"]
    assert "hunter2" in alone.out


async def test_what_no_key_opens_is_an_exit_code(cli: Cli, job_id: UUID):
    """With the jobs, so that somebody can look for the key before it is too late."""
    answer, none = await cli("keys", "check", **{KEYS: NEW}), await cli("keys", "check")

    assert 1 == answer.code and "none of ours" in answer.out and str(job_id) in answer.err
    assert 1 == none.code and f"{KEYS} is not set" in none.err


async def test_enqueue_refuses_secrets_and_encrypts_where_the_kind_is(cli: Cli, job_id: UUID):
    """The command knows of neither beforehand."""
    refused = await cli("enqueue", "other", '{"password": "x"}', **{KEYS: OLD})
    allowed = await cli("enqueue", "other", '{"password": "x"}', "--option", "allow_secrets=true")
    sealed = await cli("enqueue", "charge", '{"password": "x"}', **{KEYS: OLD})
    keyless = await cli("enqueue", "charge", '{"password": "x"}')

    assert 1 == refused.code and "payload.password looks like a secret" in refused.err
    assert [0, 0] == [allowed.code, sealed.code]
    assert 1 == keyless.code and KEYS in keyless.err
