"""The contract's table of calls: each row decoded, each wrong field refused by its wire name, each answer as it is sent."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import msgspec
import pytest

from trunkline.wire import CALLS, CODES, Refusal, decode_call, decode_follow, decode_watch, encode_call
from trunkline.wire.answers import ANSWERS
from trunkline.wire.calls import payload_text
from trunkline.wire.following import Authenticate, SubscribeJob, UnsubscribeJob
from trunkline.wire.pushes import TO_TENANT, TO_WORKERS
from trunkline.wire.updates import UPDATES, WATCHES

ID = "0197aaaa-0000-7000-8000-000000000000"
JOB = {"jobName": "resize", "jobId": ID}
# call -> data with every field of the contract, answer's fields beside status
TABLE: dict[str, tuple[dict, set[str]]] = {
    "send_job": (
        {
            "name": "resize",
            "data": {"path": "a.png"},
            "options": {
                "id": ID,
                "priority": 100,
                "startAfter": 5,
                "expireIn": "15 minutes",
                "retryLimit": 3,
                "retryDelay": 1.5,
                "retryBackoff": True,
                "singletonKey": "a",
                "idempotencyKey": "b",
                "deadLetter": "dead",
                "dependsOn": [ID],
                "userId": "u",
            },
        },
        {"jobId"},
    ),
    "schedule_job": (
        {"name": "report", "cronPattern": "0 6 * * *", "data": {}, "options": {"tz": "Europe/Berlin", "priority": 1}},
        {"scheduleId"},
    ),
    "unschedule_job": ({"name": "report"}, set()),
    "list_schedules": ({}, {"schedules"}),
    "register_worker": ({"jobName": "resize", "options": {"teamSize": 2, "teamConcurrency": 5}}, set()),
    "unregister_worker": ({"jobName": "resize"}, set()),
    "job_started": ({**JOB, "attempt": 1}, set()),
    "job_progress": ({**JOB, "attempt": 1, "progress": 12.5, "message": "half", "data": {"n": 1}}, set()),
    "job_completed": ({**JOB, "attempt": 1, "result": [1]}, set()),
    "job_failed": ({**JOB, "attempt": 1, "error": {"message": "no"}, "retryable": False, "retryAfter": 3}, {"willRetry", "nextRunAt"}),
    "send_batch": ({"jobs": [{"name": "resize", "data": 1, "options": {"priority": 2}}]}, {"batchId", "jobIds"}),
    "wait_for_batch": ({"batchId": ID, "timeoutMs": 10}, {"batchId", "total", "completed", "failed", "cancelled", "done"}),
    "get_job": (JOB, {"job"}),
    "cancel_job": (JOB, {"cancelled"}),
    "get_queue_size": ({"jobName": "resize", "before": "completed"}, {"queueSize"}),
}
WRONG = {
    "a number for a name": ("send_job", {"name": 5}, "name: expected `str`, got `int`"),
    "no name": ("send_job", {}, "missing required field `name`"),
    "an empty name": ("send_job", {"name": ""}, "name: "),
    "a priority out of range": ("send_job", {"name": "a", "options": {"priority": 101}}, "options.priority: expected `int` <= 100"),
    "an id that is none": ("get_job", {"jobName": "a", "jobId": "x"}, "jobId: invalid UUID"),
    "a list of names": ("register_worker", {"jobName": ["a"]}, "jobName: "),
    "progress beyond the end": ("job_progress", {**JOB, "progress": 101}, "progress: "),
    "an attempt before the first": ("job_started", {**JOB, "attempt": 0}, "attempt: "),
    "a state that is none": ("get_queue_size", {"jobName": "a", "before": "created"}, "before: invalid enum value"),
    "an empty batch": ("send_batch", {"jobs": []}, "jobs: "),
    "a list instead of an object": ("send_job", [], "expected `object`, got `array`"),
    "a tower of teams": ("register_worker", {"jobName": "a", "options": {"teamSize": 10**6}}, "options.teamSize: "),
}


def test_the_table_has_a_row_for_every_call():
    """And every call an answer."""
    assert set(TABLE) == set(CALLS) == set(ANSWERS)


@pytest.mark.parametrize("name", TABLE)
def test_a_call_holds_every_field_of_its_row(name):
    """camelCase outside, snake_case inside, payloads as the very text that was sent."""
    data, answered = TABLE[name]
    text = msgspec.json.encode({**data, "unknown": {"x": 1}})
    call = decode_call(name, text)

    assert CALLS[name] is type(call)
    assert data == {key: value for key, value in msgspec.json.decode(msgspec.json.encode(call)).items() if key in data}
    assert call == decode_call(name, msgspec.json.encode(encode_call(call)))
    assert {"status", *answered} == {field.encode_name for field in msgspec.structs.fields(ANSWERS[name])}
    if name == "send_job":
        assert '{"path":"a.png"}' == payload_text(call.data)


@pytest.mark.parametrize(("name", "data", "sentence"), WRONG.values(), ids=WRONG)
def test_a_wrong_field_is_named_as_it_is_on_the_wire(name, data, sentence):
    """With a stable code."""
    refusal = decode_call(name, msgspec.json.encode(data))

    assert isinstance(refusal, Refusal), refusal
    assert "invalid_input" == refusal.code and sentence in refusal.error and refusal.error.startswith(f"{name}: ")


@pytest.mark.parametrize("name", [*CALLS, "no_such_call"])
@pytest.mark.parametrize("text", [b"\xff", "[" * 10_000, '{"a":1,"a":2}', '{"data":{"n":1e400}}', "null", ""])
def test_nothing_that_comes_is_an_exception(name, text):
    """Every call refuses, and nothing else."""
    assert isinstance(decode_call(name, text), Refusal)


def test_a_call_that_does_not_exist_is_told_those_that_do():
    """Its name is quoted, not believed."""
    refusal = decode_call("x" * 1000, "{}")

    assert ("unknown_call", False) == (refusal.code, refusal.retryable) and len(refusal.error) < 600


def test_every_code_comes_back_as_its_exception():
    """Both ends mean the same; an unforeseen exception gives nothing away."""
    for code, kind in CODES.items():
        refusal = Refusal.of(kind("a sentence."))
        again = refusal.raised()

        assert (code, kind.retryable, kind, "a sentence.") == (refusal.code, refusal.retryable, type(again), str(again))
        assert {"status": "error", "error": "a sentence.", "code": code, "retryable": kind.retryable} == msgspec.json.decode(
            msgspec.json.encode(refusal)
        )
    assert "internal_error" == Refusal.of(KeyError("secret")).code and "secret" not in Refusal.of(KeyError("secret")).error
    msgspec.json.encode(Refusal.of(CODES["invalid_input"]("\ud800")))


def test_pushes_have_the_names_and_fields_of_the_contract():
    """To the worker that holds a job, and to the clients of its tenant."""
    fields = {each.event: [field.encode_name for field in msgspec.structs.fields(each)] for each in (*TO_WORKERS, *TO_TENANT)}

    assert {
        "client_ready": ["id", "customerId"],
        "work_request": ["id", "name", "data", "state", "retryCount", "priority", "createdAt", "attempt", "expiresAt", "traceparent"],
        "cancel_request": ["id", "attempt"],
        "job_started": ["jobName", "jobId", "startedAt"],
        "job_progress": ["jobName", "jobId", "progress", "message", "data"],
        "job_completed": ["jobName", "jobId", "result", "completedAt"],
        "job_failed": ["jobName", "jobId", "error", "failedAt", "willRetry"],
        "job_cancelled": ["jobId", "cancelledAt"],
        "batch_completed": ["batchId", "total", "completed", "failed", "cancelled"],
    } == fields


def test_updates_have_the_names_and_fields_of_their_contract():
    """And say their status by themselves."""
    fields = {name: [field.encode_name for field in msgspec.structs.fields(each)] for name, each in UPDATES.items()}
    progress = UPDATES["job:progress"](job_id=UUID(ID), progress=25, timestamp=datetime(2027, 1, 1, tzinfo=UTC))

    assert {
        "job:update": ["jobId", "status", "data", "timestamp"],
        "job:progress": ["jobId", "status", "progress", "message", "timestamp"],
        "job:completed": ["jobId", "status", "result", "timestamp"],
        "job:error": ["jobId", "status", "error", "timestamp"],
    } == fields
    assert ("in_progress", "2027-01-01T00:00:00Z") == tuple(
        msgspec.json.decode(msgspec.json.encode(progress))[key] for key in ("status", "timestamp")
    )


def test_rooms_are_made_from_ids_only():
    """A room's name that a client invents is no id."""
    one, user, every = (decode_watch("subscribe:jobs", text) for text in (f'{{"jobId":"{ID}"}}', '{"userId":"u"}', "{}"))

    assert [f"job:{ID}", "user:u", "all-jobs"] == [one.room, user.room, every.room]
    for bad in ('{"jobId":"all-jobs"}', '{"jobId":["a"]}', '{"userId":{}}', '{"jobId":"../x"}', "5"):
        assert "invalid_input" == decode_watch("subscribe:jobs", bad).code
    assert {"subscribe:jobs", "unsubscribe:jobs", "history"} == set(WATCHES)
    assert "invalid_input" == decode_watch("history", f'{{"jobId":"{ID}","limit":101}}').code
    assert "unknown_call" == decode_watch("history2", "{}").code


def test_the_calls_of_users_are_read_in_every_form_that_clients_send():
    """The id alone is understood; what is no id is refused by its name."""
    job, bare = decode_follow("subscribe:job", f'{{"jobId":"{ID}","more":1}}'), decode_follow("unsubscribe:job", f'"{ID}"')
    assert (SubscribeJob(UUID(ID)), UnsubscribeJob(UUID(ID)), Authenticate("x")) == (
        job,
        bare,
        decode_follow("authenticate", '{"token":"x"}'),
    )
    for bad in ('{"jobId":["x"]}', '{"jobId":null}', "{}", "[]", "7", '"all-jobs"', f'["{ID}"]', f'"job:{ID}"', '{"jobId":"\\u0000"}'):
        for call in ("subscribe:job", "unsubscribe:job"):
            assert decode_follow(call, bad).code in ("invalid_input", "invalid_payload")
    for bad in ("{}", '"x"', '{"token":1}', '{"token":null}'):
        assert "invalid_input" == decode_follow("authenticate", bad).code
    assert "unknown_call" == decode_follow("subscribe:jobs", "{}").code
