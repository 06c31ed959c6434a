"""`trunkline enqueue`: put one job in, and with `--wait` stay until it has ended.

Always true: standard output is the job's id, or with `--wait` its result, and nothing else.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trunkline.cli import show
from trunkline.cli.options import Delay, Json, RunAt, Tenant, job_options, seconds
from trunkline.cli.run import carry_out

if TYPE_CHECKING:
    from trunkline.app import Trunkline
    from trunkline.engine import Enqueued
    from trunkline.model import JobView


def enqueue(
    kind: Annotated[
        str | None, typer.Argument(metavar="KIND", help="The job type, such as resize; not with --template.", show_default=False)
    ] = None,
    payload: Annotated[
        str | None, typer.Argument(metavar="JSON", help="The payload; - reads it from standard input. [default: {}]", show_default=False)
    ] = None,
    template: Annotated[
        str | None, typer.Option(metavar="NAME", help="A template instead of a kind; JSON goes over its payload.", show_default=False)
    ] = None,
    queue: Annotated[str | None, typer.Option(metavar="NAME", help="Its queue. Unset: the kind's name.", show_default=False)] = None,
    priority: Annotated[int | None, typer.Option(min=0, max=100, help="Higher first. Unset: 0.", show_default=False)] = None,
    run_at: RunAt = None,
    delay: Delay = None,
    unique_key: Annotated[
        str | None, typer.Option(metavar="KEY", help="At most one live job of its queue has it.", show_default=False)
    ] = None,
    idempotency_key: Annotated[str | None, typer.Option(metavar="KEY", help="The same key is the same job.", show_default=False)] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Any other option: retry_limit=5, timeout=2m, user_id=u1, ...", show_default=False),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Follow it to its end and print its result; exit code 1 unless it completed.")
    ] = False,
    timeout: Annotated[
        float | None, typer.Option(parser=seconds, metavar="90|5m|2h", help="With --wait: give up after this long.", show_default=False)
    ] = None,
    tenant: Tenant = None,
    as_json: Json = False,
) -> None:
    """Put a job in and print its id."""
    if run_at is not None and delay is not None:
        raise typer.BadParameter("--run-at and --delay are both given: need one of them.", param_hint="--run-at")
    options = _options(queue, priority, run_at, delay, unique_key, idempotency_key, job_options(option or []))
    kind, body = kind_and_payload(kind, payload, template)
    if code := carry_out(
        _enqueue(kind, body, {"template": template, **options}, wait=wait, timeout_s=timeout, tenant=tenant, as_json=as_json),
        as_json=as_json,
    ):
        raise typer.Exit(code)


def _options(
    queue: str | None,
    priority: int | None,
    run_at: datetime | None,
    delay: float | None,
    unique_key: str | None,
    idempotency_key: str | None,
    others: dict[str, Any],
) -> dict[str, Any]:
    named = {
        "queue": queue,
        "priority": priority,
        "run_at": run_at,
        "delay": delay,
        "unique_key": unique_key,
        "idempotency_key": idempotency_key,
    }
    return {**{name: value for name, value in named.items() if value is not None}, **others}


def kind_and_payload(kind: str | None, payload: str | None, template: str | None) -> tuple[str | None, Any]:
    """What the two arguments mean: KIND JSON, or with a template JSON alone. No payload is None."""
    if template is not None and payload is not None:
        raise typer.BadParameter("a template has a kind: give the payload alone.", param_hint="KIND")
    if template is None and kind is None:
        raise typer.BadParameter("need a kind, or --template.", param_hint="KIND")
    kind, text = (None, kind) if template is not None else (kind, payload)
    return kind, None if text is None else payload_value(sys.stdin.read() if text == "-" else text)


def payload_value(text: str) -> Any:
    """The payload as given: what it may hold is checked where every payload is checked."""
    import msgspec

    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise typer.BadParameter(
            f'{show.short(text, 60)!r} is not JSON: {error}. In a shell, put it into single quotes: \'{{"path": "a.png"}}\'.',
            param_hint="JSON",
        ) from None


async def _enqueue(
    kind: str | None, payload: Any, options: dict[str, Any], *, wait: bool, timeout_s: float | None, tenant: str | None, as_json: bool
) -> int:
    from trunkline.cli import documents, watch
    from trunkline.cli.audited import audited
    from trunkline.cli.reach import application
    from trunkline.model import new_job

    # What is wrong with it is wrong whether or not a database answers; only that knows which kinds may have secrets.
    given = {name: value for name, value in options.items() if name != "template"}
    new_job(kind or "template", payload, **{**given, "allow_secrets": True})
    async with application(as_json=as_json) as app:
        async with audited(app) as act:
            if kind is None:
                enqueued = await act.enqueue_template(options.pop("template"), payload, tenant=tenant, **options)
            else:
                enqueued = await act.enqueue(kind, payload, tenant=tenant, **options)
        if not as_json:
            await _hints(app, kind or (await app.get(enqueued.id, tenant=tenant)).kind, enqueued, tenant)
        if not wait:
            if as_json:
                show.emit({"id": enqueued.id, "created": enqueued.created})
            else:
                show.say(str(enqueued.id))
            return 0
        with nullcontext(_nothing) if as_json else watch.teller(stderr=True) as tell:
            job = await watch.follow(app, enqueued.id, tell, tenant=tenant, timeout_s=timeout_s)
    if as_json:
        show.emit(documents.job_document(job))
    elif job.state == "completed":
        show.emit(job.result)
    else:
        show.say(watch.ending(job), style="red", stderr=True)
    return 0 if job.state == "completed" else 1


def _nothing(_: JobView, __: Sequence[str]) -> None:
    """Under --json the job is told once, when it has ended."""


async def _hints(app: Trunkline, kind: str, enqueued: Enqueued, tenant: str | None) -> None:
    """What makes a person look at a queue in wonder later: a key that was held, a kind nobody works on."""
    from difflib import get_close_matches

    from trunkline.model import kind_name
    from trunkline.store import inspect

    if not enqueued.created:
        show.hint("Not new: a job that is already there holds its key. This is that job's id.")
        return
    known = await inspect.declared_kinds(app.store, await app.tenant_id(tenant))
    if kind_name(kind) not in known:
        near = get_close_matches(kind_name(kind), known, n=1)
        show.hint(
            f"No worker has declared the kind {kind_name(kind)!r} yet"
            + (f": did you mean {near[0]!r}?" if near else "; the job waits for one.")
        )
