"""From payload to arguments: the plan is made once, when a handler is declared.

- A first parameter annotated `Job`, or named `job`, receives the attempt.
- One further parameter that is a pydantic model, a dataclass or a msgspec Struct receives the whole payload, validated.
- One further parameter named `payload` receives the whole payload, validated if it is annotated.
- Otherwise each parameter is a field of the payload, validated by its annotation; unknown fields are refused unless there
  is a `**kwargs`.
The same for handlers that run here (engine) and for those of remote workers (client).
A payload that does not fit raises `Fail` with the field's name: no retry can mend it.
"""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable
from typing import Any

import msgspec
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model

from trunkline.errors import InvalidInput
from trunkline.model.endings import Fail

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
Bind = Callable[[Any], Arguments]
_EMPTY: dict[str, Any] = {}
PLAINER = {"extra_forbidden": "there is no such field"}  # pydantic: Extra inputs are not permitted


def bind(function: Callable[..., Any], kind: str, *, takes_job: bool) -> Bind:
    """The plan for one function: from a job (its `payload_text`) to positional and keyword arguments.

    Raises:
        InvalidInput: the signature cannot be filled from a payload.
    """
    signature = inspect.signature(function)
    hints = _hints(function)
    parameters = list(signature.parameters.values())
    wants_job = takes_job and bool(parameters) and _is_job(parameters[0], hints)
    fields = parameters[1:] if wants_job else parameters
    if any(p.kind in (p.POSITIONAL_ONLY, p.VAR_POSITIONAL) for p in fields):
        raise InvalidInput(f"handler {kind!r}: payload fields go to named parameters, not *args or positional-only ones.")
    if not fields:
        return (lambda job: ((job,), _EMPTY)) if wants_job else (lambda job: ((), _EMPTY))
    if (
        len(fields) == 1
        and fields[0].kind is not inspect.Parameter.VAR_KEYWORD
        and (_is_model(annotation := hints.get(fields[0].name, Any)) or fields[0].name == "payload")
    ):
        convert = _whole(annotation, kind)
        return (
            (lambda job: ((job, convert(job.payload_text)), _EMPTY)) if wants_job else (lambda job: ((convert(job.payload_text),), _EMPTY))
        )
    spread = _spread(fields, hints, kind)
    return (lambda job: ((job,), spread(job.payload_text))) if wants_job else (lambda job: ((), spread(job.payload_text)))


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except Exception:  # noqa: BLE001 - an annotation that cannot be resolved is simply not validated
        return dict(getattr(function, "__annotations__", {}))


def _is_job(parameter: inspect.Parameter, hints: dict[str, Any]) -> bool:
    hint = hints.get(parameter.name)
    return parameter.name == "job" or getattr(hint, "__name__", hint) == "Job"


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and (issubclass(annotation, (BaseModel, msgspec.Struct)) or dataclasses.is_dataclass(annotation))


def _whole(annotation: Any, kind: str) -> Callable[[str], Any]:
    if annotation is Any or annotation is inspect.Parameter.empty or annotation in (dict, object):
        return _decoded(kind)
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        decoder = msgspec.json.Decoder(annotation)

        def decode_struct(text: str) -> Any:
            try:
                return decoder.decode(text)
            except msgspec.DecodeError as error:
                raise Fail(f"payload of {kind!r} does not fit: {_without_value(str(error))}") from None

        return decode_struct
    adapter: TypeAdapter[Any] = TypeAdapter(annotation)

    def validate(text: str) -> Any:
        try:
            return adapter.validate_json(text)
        except ValidationError as error:
            raise Fail(_sentence(kind, error)) from None

    return validate


def _spread(fields: list[inspect.Parameter], hints: dict[str, Any], kind: str) -> Callable[[str], dict[str, Any]]:
    rest = fields[-1].kind is inspect.Parameter.VAR_KEYWORD
    named = fields[:-1] if rest else fields
    # Fields have names of their own and the parameters' as aliases: `json`, `copy` or `_x` would clash with the model's.
    fitted = {
        f"f{n}": (hints.get(p.name, Any), Field(... if p.default is p.empty else p.default, alias=p.name)) for n, p in enumerate(named)
    }
    config = ConfigDict(extra="allow" if rest else "forbid", arbitrary_types_allowed=True)
    model = create_model("payload", __config__=config, **fitted)  # type: ignore[call-overload]
    names = {p.name: f"f{n}" for n, p in enumerate(named)}

    def spread(text: str) -> dict[str, Any]:
        try:
            value = model.model_validate_json(text)
        except ValidationError as error:
            raise Fail(_sentence(kind, error)) from None
        return {name: getattr(value, inner) for name, inner in names.items()} | (value.model_extra or {})

    return spread


def _decoded(kind: str) -> Callable[[str], Any]:
    def decode(text: str) -> Any:
        try:
            return msgspec.json.decode(text)
        except msgspec.DecodeError as error:  # PostgreSQL's json has numbers that no float holds
            raise Fail(f"payload of {kind!r} does not fit: {error}") from None

    return decode


def _without_value(message: str) -> str:
    """What msgspec says, without the one value that it repeats: errors are stored in plain text, also those of encrypted kinds."""
    start = "Invalid enum value"
    return f"{start} - at {message.rpartition(' - at ')[2]}" if message.startswith(start) and " - at " in message else message


def _sentence(kind: str, error: ValidationError) -> str:
    problems = "; ".join(
        f"{'.'.join(str(part) for part in p['loc']) or 'payload'}: {PLAINER.get(p['type'], p['msg'])}" for p in error.errors()[:5]
    )
    return f"payload of {kind!r} does not fit: {problems}"
