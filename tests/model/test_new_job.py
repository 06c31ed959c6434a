"""A job on its way in: everything is checked before anything is written."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from trunkline.errors import BadId, InvalidInput, InvalidPayload
from trunkline.model import Fail, Policy, RetryAfter, Snooze, new_job


def test_a_plain_job_is_plain():
    """Nothing but a body: the fast paths may take it."""
    job = new_job("resize", {"a": 1}, queue="q", priority=3)

    assert job.is_plain
    assert ("resize", "q", 3, '{"a":1}') == (job.kind, job.queue, job.priority, job.payload)
    assert 7 == job.id.version


@pytest.mark.parametrize(
    "option",
    [
        {"user_id": "u"},
        {"run_at": datetime.now(UTC)},
        {"delay": 0},
        {"idempotency_key": "i"},
        {"unique_key": "u"},
        {"retry_limit": 0},
        {"timeout": 5},
    ],
    ids=lambda option: next(iter(option)),
)
def test_a_job_with_anything_else_is_not(option):
    """Every rule is known to the full path only."""
    assert not new_job("work", **option).is_plain


def test_an_option_that_is_none_is_no_option():
    """Callers pass on what they were given."""
    assert new_job("work", retry_limit=None, timeout=None, user_id=None, delay=None).is_plain


def test_the_queue_is_the_kind_unless_it_is_named():
    """With the kind's one name."""
    assert ("ai-generation", "ai-generation") == new_job("ai_generation")[1:3]


def test_no_payload_is_an_empty_object():
    """So that a handler without parameters is served; null is a value of its own."""
    assert ("{}", "[]", "0", '""') == tuple(new_job("work", value).payload for value in (None, [], 0, ""))


def test_ids_rise():
    """Later made, later in order: a B-tree fills from one side."""
    ids = [new_job("work").id for _ in range(2000)]

    assert ids == sorted(ids)
    assert 2000 == len(set(ids))
    assert isinstance(ids[0], UUID)
    assert ids[0] == UUID(str(ids[0]))
    assert hash(ids[0]) == hash(UUID(str(ids[0])))


@pytest.mark.parametrize(
    "options",
    [
        {"priority": -1},
        {"priority": 101},
        {"priority": 1.0},
        {"priority": True},
        {"priority": "1"},
        {"priority": None},
        {"retry_limit": -1},
        {"retry_limit": 1001},
        {"retry_limit": 1.5},
        {"retry_limit": True},
        {"retry_limit": float("nan")},
        {"retry_delay": -0.1},
        {"retry_delay": float("nan")},
        {"retry_delay": float("inf")},
        {"retry_delay": "2"},
        {"retry_jitter": 1.1},
        {"retry_backoff": 1},
        {"unique_replace": "yes"},
        {"timeout": 0},
        {"timeout": timedelta(days=31)},
        {"delay": -1},
        {"delay": "soon"},
        {"delay": 1, "run_at": datetime.now(UTC)},
        {"run_at": datetime(2030, 1, 1)},  # noqa: DTZ001
        {"run_at": "2030-01-01"},
        {"expires_at": datetime(2030, 1, 1)},  # noqa: DTZ001
        {"expires_at": "2030-01-01T00:00:00Z"},
        {"unique_for": 0},
        {"idempotency_window": 0},
        {"idempotency_key": ""},
        {"idempotency_key": "x" * 501},
        {"idempotency_key": "a\x00"},
        {"unique_key": 5},
        {"unique_key": "\ud800"},
        {"user_id": ""},
        {"user_id": "\udfff"},
        {"traceparent": "x" * 101},
        {"dead_letter": "a/b"},
        {"dead_letter": 5},
        {"queue": ""},
        {"queue": "a\ud800"},
        {"no_such_option": 1},
    ],
    ids=lambda options: next(iter(options)),
)
def test_what_cannot_work_is_refused_and_named(options):
    """The message names the option and its value."""
    with pytest.raises(InvalidInput) as refused:
        new_job("work", **options)

    assert next(iter(options)).replace("_", " ").split(" ")[0] in str(refused.value).replace("_", " ")


@pytest.mark.parametrize("value", ["nonsense", "", 5, "0" * 31])
def test_an_id_that_is_none_is_refused(value):
    """Which UUIDs the database takes, it says itself."""
    with pytest.raises(BadId):
        new_job("work", id=value)


def test_an_id_may_be_given_as_text():
    """As the wire does."""
    given = uuid4()

    assert given == new_job("work", id=str(given)).id


def test_a_payload_over_the_limit_is_refused():
    """The limit is the setting's."""
    with pytest.raises(InvalidPayload, match="at most 10"):
        new_job("work", "x" * 20, max_bytes=10)


def test_durations_are_seconds_or_timedeltas():
    """Both are kept as seconds; times as UTC."""
    at = datetime(2030, 1, 1, 2, tzinfo=UTC)
    job = new_job("work", timeout=timedelta(minutes=2), delay=timedelta(seconds=3), unique_for=60, unique_key="u", expires_at=at)

    assert {"timeout": 120.0, "delay": 3.0, "unique_for": 60, "unique_key": "u", "expires_at": "2030-01-01T02:00:00+00:00"} == json.loads(
        job.options
    )


@pytest.mark.parametrize(
    "policy",
    [
        {"retry_limit": 1.5},
        {"retry_limit": -1},
        {"retry_delay_s": -1},
        {"retry_jitter": 2},
        {"timeout_s": 0},
        {"timeout_s": True},
        {"retry_max_delay_s": float("nan")},
        {"dead_letter": "a/b"},
    ],
    ids=lambda options: next(iter(options)),
)
def test_a_policy_that_cannot_work_is_refused(policy):
    """When it is declared, not when the first job fails."""
    with pytest.raises(InvalidInput):
        Policy(**policy)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"prioritty": 5}, "did you mean priority?"),
        ({"retry_backoff": "yes"}, "option retry_backoff is 'yes': need true or false."),
        ({"expires_at": 5}, "option expires_at is 5: need a datetime with a time zone, such as datetime.now(UTC)."),
        ({"on_parent_failure": "stop"}, "option on_parent_failure is 'stop': need cancel, fail or run."),
        ({"unique_key": 3}, "unique_key is 3: need text of 1 to 500 characters"),
        ({"queue": 5}, "queue name 5: need 1 to 200 characters"),
        ({"id": 5}, "job id 5: need a UUID"),
        ({"zzz": 1}, "there is no such option. There are: batch_id, "),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_an_option_that_is_not_taken_says_which_are(options, said):
    """It is read on a command line and in answers of the API, where nobody can look at Python."""
    with pytest.raises(InvalidInput, match=re.escape(said)):
        new_job("mail", **options)


@pytest.mark.parametrize("ending", [Snooze, RetryAfter])
@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), "5", True])
def test_a_wait_that_cannot_be_is_refused(ending, seconds):
    """A job must not be put off to nowhere."""
    with pytest.raises((InvalidInput, ValueError)):
        ending(seconds)


def test_endings_say_what_they_mean():
    """Their text is kept with the attempt."""
    assert ("snoozed for 5 s", "the provider asked to wait 30 s", "429", "no such user") == (
        str(Snooze(5)),
        str(RetryAfter(30)),
        str(RetryAfter(30, "429")),
        str(Fail("no such user")),
    )
