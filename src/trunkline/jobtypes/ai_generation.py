"""The job type `ai-generation`: text from any OpenAI-compatible endpoint, with versioned prompts.

Payload: {prompt | text, promptVersion?, system?, variables?, model?, maxTokens?, temperature?}. Progress: the text so far (its last
2,000 characters), a few times a second. Result: {text, model, finishReason, prompt, promptVersion, usage, ...}.
Always true: endpoint and key are the operator's (TRUNKLINE_AI_BASE_URL, TRUNKLINE_AI_API_KEY) and in no payload, so a payload cannot
send the key elsewhere; the provider's 429 stops this account in every process for as long as it says (limit key `ai:HOST`, and the
job's own) and costs no attempt; text with a phrase of TRUNKLINE_AI_BLOCKED is neither sent nor kept nor told as progress.
Called by: engine. Calls: engine.permits, engine.prompts, prompting.
"""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from trunkline.engine import Job, Permits
from trunkline.errors import NotFound
from trunkline.jobtypes.application import Application
from trunkline.model import Fail, RetryAfter
from trunkline.settings import Settings

KIND = "ai-generation"
POLICY: dict[str, Any] = {"retry_limit": 2, "retry_delay": 2, "retry_backoff": True, "timeout": 600}  # maxAttempts 3, 2^n seconds
REPORT_EVERY_S, WAIT_S, LONGEST_WAIT_S = 0.3, 10.0, 3600.0
CONNECT_S, READ_S = 10.0, 120.0
LONGEST_TEXT = 500_000  # characters that are kept
RATE, BURST = 1000.0, 1000  # no bound of ours: an account's limits are its provider's, or set for the key
Message = dict[str, str]


class AiGeneration(BaseModel):
    """What to write. Names may be camelCase or snake_case; unknown ones are refused."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, hide_input_in_errors=True, frozen=True, extra="forbid")

    prompt: str | None = Field(None, max_length=200)  # by name, from `app.prompts`
    prompt_version: int | None = Field(None, ge=1)  # None: the newest when the job runs
    text: str | None = Field(None, max_length=100_000)  # instead of a prompt: the text itself, no variables
    system: str | None = Field(None, max_length=100_000)
    variables: dict[str, Any] = Field(default_factory=dict, max_length=200)
    model: str | None = Field(None, max_length=200)  # None: TRUNKLINE_AI_MODEL
    max_tokens: int | None = Field(None, ge=1, le=200_000)
    temperature: float | None = Field(None, ge=0, le=2)

    @model_validator(mode="after")
    def _has_one_text(self) -> AiGeneration:
        if (self.prompt is None) == (self.text is None):
            raise ValueError("need a prompt by name, or a text, one of them")
        return self


def register(app: Application) -> None:
    """Declare the handler of `ai-generation` on `app`, for the default tenant: customers send jobs of this name to workers of their own."""

    @app.job(KIND, **POLICY)
    async def ai_generation(job: Job, payload: AiGeneration) -> dict[str, Any]:
        """Generate text."""
        account = f"ai:{urlsplit(app.settings.ai_base_url or '').hostname}"
        return await generate(job, payload, app, Permits(app.store, job.tenant_id, account, rate=RATE, burst=BURST))


async def generate(job: Job, payload: AiGeneration, app: Application, permits: Permits | None = None) -> dict[str, Any]:
    """Do the work of one attempt.

    Args:
        permits: of the account; None: there is nobody else.

    Returns:
        {success, text, model, finishReason, prompt, promptVersion, usage: {promptTokens, completionTokens, totalTokens}, durationMs}.
    Raises:
        Fail: the request is wrong, refused or blocked. RetryAfter: the provider asked to wait. Else: worth another attempt.
    """
    started, settings = time.monotonic(), app.settings
    model = payload.model or settings.ai_model
    if model is None or settings.ai_base_url is None:
        raise Fail("the endpoint is not set where the worker runs: TRUNKLINE_AI_BASE_URL and TRUNKLINE_AI_MODEL (or `model`).")
    await job.progress(1, "Filling the prompt...")
    messages, version = await _messages(job, payload, app)
    for message in messages:
        _check_blocked(message["content"], settings, "the prompt has")
    if permits is not None:
        await permits.take()
    try:
        text, finish, usage = await _streamed(job, payload, settings, model, messages)
    except RetryAfter as wait:
        if permits is not None:
            await permits.shut(wait.seconds)
        raise
    _check_blocked(text, settings, "the answer had")
    if finish == "content_filter":
        raise Fail("the provider's content filter ended the answer. Change the prompt.")
    await job.progress(100, text[-2000:])
    counts = {"promptTokens": usage[0], "completionTokens": usage[1], "totalTokens": usage[0] + usage[1]} if usage else None
    said = {"text": text, "model": model, "finishReason": finish, "prompt": payload.prompt, "promptVersion": version, "usage": counts}
    return {"success": True, **said, "durationMs": round((time.monotonic() - started) * 1000)}


async def _messages(job: Job, payload: AiGeneration, app: Application) -> tuple[list[Message], int | None]:
    system, body, version = payload.system, payload.text, None
    if payload.prompt is not None:
        try:
            kept = await app.prompts.of(job.tenant_id, payload.prompt, payload.prompt_version)
        except NotFound as error:
            raise Fail(str(error)) from None
        rendered, version = _rendered(), kept.version
        body = rendered(kept.body, payload.variables)
        system = rendered(kept.system, payload.variables) if system is None and kept.system is not None else system
    assert body is not None
    return [*([{"role": "system", "content": system}] if system else []), {"role": "user", "content": body}], version


async def _streamed(
    job: Job, payload: AiGeneration, settings: Settings, model: str, messages: list[Message]
) -> tuple[str, str | None, tuple[int, int] | None]:
    """(text, why it ended, (tokens in, tokens out)). The provider's errors are sorted here."""
    openai = _openai()
    key = settings.ai_api_key.get_secret_value() if settings.ai_api_key else "none"
    options = {
        name: value for name, value in (("max_tokens", payload.max_tokens), ("temperature", payload.temperature)) if value is not None
    }
    timeout = openai.Timeout(READ_S, connect=CONNECT_S)
    async with openai.AsyncOpenAI(base_url=settings.ai_base_url, api_key=key, max_retries=0, timeout=timeout) as client:
        try:
            asked = {"model": model, "messages": messages, "stream": True, "stream_options": {"include_usage": True}, **options}
            async with await client.chat.completions.create(**asked) as stream:
                return await _followed(job, stream, payload.max_tokens, settings)
        except openai.RateLimitError as error:
            if error.code == "insufficient_quota":
                raise Fail("the provider says that the account's quota is used up. Raise it and retry the job.") from None
            raise RetryAfter(_wait_s(error), "the provider asked to wait (429)", key=job.options.get("limit_key") is not None) from None
        except (openai.APITimeoutError, openai.APIConnectionError, openai.InternalServerError, openai.ConflictError):
            raise  # network, timeouts and the provider's own faults pass
        except openai.APIStatusError as error:
            raise Fail(f"the provider refuses the request ({error.status_code}): {_without(key, str(error.message))[:500]}") from None


async def _followed(job: Job, stream: Any, max_tokens: int | None, settings: Settings) -> tuple[str, str | None, tuple[int, int] | None]:
    parts: list[str] = []
    size, told_at = 0, 0.0
    finish: str | None = None
    usage: tuple[int, int] | None = None
    async for chunk in stream:
        if chunk.usage is not None:
            usage = (chunk.usage.prompt_tokens, chunk.usage.completion_tokens)
        for choice in chunk.choices[:1]:
            finish = choice.finish_reason or finish
            if choice.delta.content:
                parts.append(choice.delta.content)
                size += len(choice.delta.content)
        if size > LONGEST_TEXT:
            raise Fail(f"the answer has more than {LONGEST_TEXT:,} characters. Set maxTokens.")
        if time.monotonic() - told_at > REPORT_EVERY_S:
            told_at = time.monotonic()
            _check_blocked("".join(parts), settings, "the answer had")
            percent = min(95.0, 5 + 90 * len(parts) / max_tokens) if max_tokens else 50.0  # a chunk is about a token
            await job.progress(round(percent, 1), "".join(parts[-2000:])[-2000:])
    return "".join(parts), finish, usage


def _wait_s(error: Any) -> float:
    """What the provider asked for: `retry-after-ms`, or `retry-after` in seconds."""
    headers = error.response.headers
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            return min(max(float(headers[name]) * unit, 0.1), LONGEST_WAIT_S)
        except (KeyError, ValueError):
            continue
    return WAIT_S


def _check_blocked(text: str, settings: Settings, what: str) -> None:
    lowered = text.casefold()
    for phrase in settings.ai_blocked.split(","):
        if (bare := phrase.strip().casefold()) and bare in lowered:
            raise Fail(f"{what} a phrase that TRUNKLINE_AI_BLOCKED forbids. It was neither sent on nor kept.")


def _without(secret: str, text: str) -> str:
    return text.replace(secret, "***")


def _openai() -> Any:
    try:
        import openai
    except ImportError as error:
        raise Fail(f"{KIND} needs the package {error.name}. Install trunkline[ai] and retry the job.") from None
    return openai


def _rendered() -> Any:
    try:
        from trunkline.jobtypes.prompting import rendered
    except ImportError as error:
        raise Fail(f"{KIND} needs the package {error.name}. Install trunkline[ai] and retry the job.") from None
    return rendered
