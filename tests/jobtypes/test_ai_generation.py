"""`ai-generation`: the real client against a server that behaves as the provider's documentation says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.jobtypes.provider import Answer, Provider, chunks, refusal
from tests.jobtypes.support import RecordingJob
from trunkline import Trunkline
from trunkline.errors import InvalidInput, JobFailed, NotFound
from trunkline.jobtypes import ai_generation, declare
from trunkline.jobtypes.ai_generation import AiGeneration, generate
from trunkline.jobtypes.prompting import rendered
from trunkline.model import Fail, RetryAfter
from trunkline.settings import Settings

KEY = "sk-never-shown"


class Offline:
    """What the handler sees of an application, without prompts."""

    def __init__(self, url: str, **settings: Any) -> None:
        self.settings = Settings(ai_base_url=url, ai_api_key=KEY, ai_model="m", **settings)


@pytest.fixture
async def app(trunkline_url: str) -> AsyncIterator[Trunkline]:
    """An application whose provider is set by the test."""
    settings = Settings.load(
        {}, database_url=trunkline_url, ai_base_url="http://127.0.0.1:9/v1", ai_api_key=KEY, ai_model="m", shutdown_timeout_s=5
    )
    async with Trunkline(settings=settings) as app:
        declare(app, "ai-generation")
        yield app


async def asked(job: RecordingJob, answer: Answer, url: str | None = None, settings: dict[str, Any] | None = None, **payload: Any) -> Any:
    with Provider(lambda body: answer) as provider:
        found: Any = Offline(url or provider.url, **(settings or {}))
        result = await generate(job, AiGeneration(**({"text": "hello"} | payload)), found)
    return result, provider.asked


@pytest.fixture
def job() -> RecordingJob:
    job = RecordingJob()
    job._options = None
    return job


async def test_the_answer_streams_as_progress_and_its_tokens_are_counted(job: RecordingJob) -> None:
    result, requests = await asked(job, (200, {}, chunks("Hel", "lo ", "you")), system="Be kind.", max_tokens=50, temperature=0.5)

    headers, body = requests[0]
    result.pop("durationMs")
    counts = {"promptTokens": 7, "completionTokens": 3, "totalTokens": 10}
    assert {
        "success": True,
        "text": "Hello you",
        "model": "m",
        "finishReason": "stop",
        "prompt": None,
        "promptVersion": None,
        "usage": counts,
    } == result
    assert f"Bearer {KEY}" == headers["authorization"]
    assert [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "hello"}] == body["messages"]
    assert (True, 50, 0.5) == (body["stream"], body["max_tokens"], body["temperature"])
    assert (100, "Hello you") == job.said[-1][:2]
    assert "Hel" in [said[1] for said in job.said]


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        (refusal(429, "slow down", **{"retry-after": "17"}), 17),
        (refusal(429, "slow down", **{"retry-after-ms": "1500", "retry-after": "2"}), 1.5),
        (refusal(429, "slow down"), 10),
        (refusal(429, "slow down", **{"retry-after": "1e9"}), 3600),
    ],
)
async def test_a_429_waits_as_long_as_the_provider_says(job: RecordingJob, answer: Answer, seconds: float) -> None:
    with pytest.raises(RetryAfter) as waits:
        await asked(job, answer)

    assert (seconds, False) == (waits.value.seconds, waits.value.key)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (refusal(401, f"Incorrect API key provided: {KEY}"), r"\(401\): .*\*\*\*"),
        (refusal(400, "context length exceeded", "context_length_exceeded"), r"\(400\).*context length"),
        (refusal(404, "no such model"), r"\(404\)"),
        (refusal(429, "no money", "insufficient_quota"), "quota"),
        ((200, {}, chunks("x", finish="content_filter")), "content filter"),
    ],
)
async def test_what_no_retry_mends_ends_the_job_and_shows_no_key(job: RecordingJob, answer: Answer, said: str) -> None:
    with pytest.raises(Fail, match=said) as failed:
        await asked(job, answer)

    assert KEY not in str(failed.value)


async def test_faults_of_the_provider_and_the_network_are_tried_again(job: RecordingJob) -> None:
    for answer, url in ((refusal(500, "oops"), None), (refusal(503, "busy"), None), ((200, {}, []), "http://127.0.0.1:9/v1")):
        with pytest.raises(Exception) as failed:
            await asked(job, answer, url)

        assert not isinstance(failed.value, Fail | RetryAfter)


async def test_forbidden_phrases_are_neither_sent_nor_kept(job: RecordingJob) -> None:
    blocked = {"ai_blocked": "secret plan, other"}
    with pytest.raises(Fail, match="the answer had"):
        await asked(job, (200, {}, chunks("the SECRET ", "Plan is")), settings=blocked)
    with pytest.raises(Fail, match="the prompt has"):
        await asked(job, (200, {}, chunks("fine")), settings=blocked, text="Tell the Secret Plan")


async def test_a_forbidden_phrase_is_not_told_as_progress_either(job: RecordingJob, monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress is kept in the job's history and shown to watchers, before the whole answer is there to be looked at."""
    monkeypatch.setattr(ai_generation, "REPORT_EVERY_S", -1)
    with pytest.raises(Fail, match="the answer had"):
        await asked(job, (200, {}, chunks("the SECRET ", "Plan", " is")), settings={"ai_blocked": "secret plan"})

    assert ["Filling the prompt...", "the SECRET "] == [said[1] for said in job.said]


@pytest.mark.parametrize(
    "text",
    [
        *(
            "{{ ''.__class__.__mro__ }}",
            "{% for a in 'x' %}{{ a }}{% endfor %}",
            "{{ 'a' * 10 ** 9 }}",
            "{{ x.y() }}",
            "{% import 'os' as o %}",
            "{{ missing }}",
        ),
        *(
            "{% macro m() %}{% endmacro %}",
            "{{ name|attr('x') }}",
            "{% set a = 1 %}",
            "{{ name",
            "{{ range(9) }}",
            "{{ name.__class__ }}",
            "{% include 'x' %}",
        ),
    ],
)
def test_a_prompt_is_text_and_not_code(text: str) -> None:
    with pytest.raises(Fail):
        rendered(text, {"name": "Ann"})


def test_values_are_put_in_as_they_are() -> None:
    values = {"name": "{{ name }}{% if %}<b>", "vip": True, "tags": ["a", "b"]}

    assert "{{ NAME }}{% IF %}<B>, dear a, b" == rendered("{{ name|upper }}, {% if vip %}dear {% endif %}{{ tags|join(', ') }}", values)


async def test_prompts_have_versions_and_jobs_use_the_one_they_name(app: Trunkline) -> None:
    saved = [await app.prompts.save("greet", body, user_id="u1") for body in ("Hi {{ name }}", "Hello {{ name }}", "Hello {{ name }}")]
    await app.prompts.save("greet", "not yours", tenant="other")
    with Provider(lambda body: (200, {}, chunks("ok"))) as provider:
        app.settings = app.settings.model_copy(update={"ai_base_url": provider.url})
        await app.start_worker()
        ids = [
            await app.enqueue("ai-generation", {"prompt": "greet", "variables": {"name": "Ann"}, **more})
            for more in ({}, {"promptVersion": 1})
        ]
        results = [await app.wait(job_id, 30) for job_id in ids]
        with pytest.raises(JobFailed, match="version 9"):
            await app.wait(await app.enqueue("ai-generation", {"prompt": "greet", "promptVersion": 9}), 30)

    assert [1, 2, 2] == saved
    assert [2, 1] == [result["promptVersion"] for result in results]
    assert {"Hello Ann", "Hi Ann"} == {body["messages"][0]["content"] for _, body in provider.asked}
    assert [2, 1] == [one.version for one in await app.prompts.history("greet")]
    assert [("greet", 2, "u1")] == [(one.name, one.version, one.created_by) for one in await app.prompts.list()]
    with pytest.raises(NotFound):
        await app.prompts.get("greet", tenant="nobody")
    with pytest.raises(InvalidInput):
        await app.prompts.save("greet", "")


async def test_two_savers_at_once_make_two_versions(app: Trunkline) -> None:
    numbers = await asyncio.gather(*(app.prompts.save("p", f"text {n}") for n in range(8)))

    assert set(range(1, 9)) == set(numbers)


@pytest.mark.parametrize("keys", [("ai", "ai"), (None, None), ("one", "two")])
async def test_a_429_stops_the_whole_account_and_costs_no_attempt(app: Trunkline, keys: tuple[str | None, str | None]) -> None:
    """The second job is not even sent while the first one's wait lasts, whether they have a limit key or not."""
    with Provider(lambda body: refusal(429, "slow down", **{"retry-after": "60"})) as provider:
        app.settings = app.settings.model_copy(update={"ai_base_url": provider.url})
        jobs = []
        await app.start_worker()
        for key in keys:
            jobs.append(await app.enqueue("ai-generation", {"text": "a"}, limit_key=key))
            while (await app.get(jobs[-1])).state not in ("retrying", "limited"):
                await asyncio.sleep(0.02)
        await app.stop_worker(5)
        found = [await app.get(job_id) for job_id in jobs]

    assert [0, 0] == [job.failures for job in found]
    assert (1, 0 if keys[0] == "ai" else 1) == (found[0].attempt, found[1].attempt)
    assert 1 == len(provider.asked)
