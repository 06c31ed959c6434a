"""Frames of the plain WebSocket, and options as the product's own."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from trunkline.errors import InvalidInput
from trunkline.model import new_job
from trunkline.wire import (
    Handshake,
    Message,
    Refusal,
    Unreadable,
    decode_frame,
    decode_handshake,
    encode_push,
    encode_reply,
    job_options,
    joined,
)
from trunkline.wire.answers import Ok
from trunkline.wire.calls import JobOptions, SendJob
from trunkline.wire.pushes import CancelRequest


def test_a_frame_is_one_message_or_many():
    """In their order; `id` is a number, a text or absent."""
    (one,) = decode_frame('{"id": 7, "type": "send_job", "data": {"name": "a"}}')
    many = decode_frame(' [{"type": "a"}, {"id": "x", "type": "b", "more": 1}]')

    assert (7, "send_job", '{"name": "a"}') == (one.id, one.type, bytes(one.data).decode())
    assert [(None, "a", b"{}"), ("x", "b", b"{}")] == [(m.id, m.type, bytes(m.data)) for m in many]


@pytest.mark.parametrize(
    "frame", ["", "5", "null", '"x"', "[]", "{}", '{"type": 5}', "[" + ",".join(['{"type":"a"}'] * 257) + "]", '{"a":1,"a":2}', b"\xff"]
)
def test_a_frame_that_is_none_is_one_refusal(frame):
    """Never an exception."""
    (answer,) = decode_frame(frame)

    assert isinstance(answer, Unreadable) and answer.refusal.code in ("invalid_input", "invalid_payload")


def test_one_bad_message_does_not_cost_the_others():
    """It is answered in its place, with its id."""
    first, bad, strange, last = decode_frame('[{"type":"a"},{"id":3,"type":""},{"id":[],"type":"x"},{"type":"b"}]')

    assert [Message, Unreadable, Unreadable, Message] == [type(m) for m in (first, bad, strange, last)]
    assert (3, None) == (bad.id, strange.id)


def test_answers_carry_the_id_and_pushes_none():
    """Several become an array."""
    reply, push = encode_reply(7, Ok()), encode_push(CancelRequest(id=new_job("a").id, attempt=2))

    assert {"id": 7, "type": "reply", "data": {"status": "ok"}} == msgspec.json.decode(reply)
    assert {"type", "data"} == set(msgspec.json.decode(push)) and "cancel_request" == msgspec.json.decode(push)["type"]
    assert reply == joined([reply]) and [msgspec.json.decode(reply), msgspec.json.decode(push)] == msgspec.json.decode(
        joined([reply, push])
    )


def test_a_handshake_says_who_and_what_for():
    """Wrong ones are refused."""
    assert Handshake(customer_token="t", events=False, resume="c") == decode_handshake(
        '{"customerToken":"t","events":false,"resume":"c","x":1}'
    )
    assert [True, True] == [isinstance(decode_handshake(text), Refusal) for text in ('{"customerToken":5}', "[")]


def test_options_become_the_product_s_own():
    """What is not said is not said."""
    text = """{"name":"a","options":{"priority":3,"startAfter":"2027-01-31T09:00:00Z","expireIn":"1 hour 30 minutes","retryLimit":1,
        "singletonKey":"s","deadLetter":"dead_ones","dependsOn":["0197aaaa-0000-7000-8000-000000000000"]}}"""
    given = job_options(msgspec.json.decode(text, type=SendJob).options)
    job = new_job("a", **given)

    assert {"priority", "run_at", "timeout", "retry_limit", "unique_key", "dead_letter", "depends_on"} == set(given)
    assert (3, datetime(2027, 1, 31, 9, tzinfo=UTC), "s") == (job.priority, job.run_at, job.unique_key)
    assert {"timeout": 5400.0, "dead_letter": "dead-ones"}.items() <= msgspec.json.decode(job.options).items()
    assert {} == job_options(None) and new_job("a", **job_options(JobOptions())).is_plain


@pytest.mark.parametrize(
    ("spelled", "seconds"), [("15 minutes", 900), ("90", 90), (1.5, 1.5), ("00:15:00", 900), ("2 hours", 7200), ("1 d", 86400), ("30s", 30)]
)
def test_durations_are_read_as_people_write_them(spelled, seconds):
    """Of pg-boss, of PostgreSQL, or plain seconds."""
    assert seconds == job_options(JobOptions(expire_in=spelled))["timeout"]


@pytest.mark.parametrize(
    "options", [{"expire_in": "soon"}, {"expire_in": "5 parsecs"}, {"expire_in": 0}, {"expire_in": ""}, {"start_after": "tomorrow"}]
)
def test_durations_that_mean_nothing_are_refused(options):
    """By name and value."""
    with pytest.raises(InvalidInput, match=r"expireIn|startAfter"):
        job_options(JobOptions(**options))


@pytest.mark.parametrize(
    ("start_after", "given"), [(0, {}), (5, {"delay": 5}), ("2027-01-31", {"run_at": datetime(2027, 1, 31, tzinfo=UTC)})]
)
def test_a_start_is_a_delay_or_a_time(start_after, given):
    """Without a zone it is UTC."""
    assert given == {k: v for k, v in job_options(JobOptions(start_after=start_after)).items() if k != "priority"}
