"""`trunkline batches send`: jobs as JSON, in the shape that the SQL function `batch` takes.

Always true: all of them are put in or none; standard output is the batch's id and nothing else.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trunkline.cli import show
from trunkline.cli.enqueue import payload_value
from trunkline.cli.options import TIMES, Json, Tenant, moment
from trunkline.cli.run import carry_out

if TYPE_CHECKING:
    from trunkline.app import Trunkline
    from trunkline.model import NewJob

FIELDS = {"kind", "payload", "options"}


def send(
    jobs: Annotated[str, typer.Argument(metavar="JSON", help="A list of jobs, or one on each line; - reads it from standard input.")],
    name: Annotated[str | None, typer.Option(metavar="NAME", help="For people.", show_default=False)] = None,
    on_success: Annotated[
        str | None, typer.Option(metavar="KIND|JSON", help="A job that comes when all have completed.", show_default=False)
    ] = None,
    on_complete: Annotated[
        str | None, typer.Option(metavar="KIND|JSON", help="One that comes when all have ended, however.", show_default=False)
    ] = None,
    tenant: Tenant = None,
    as_json: Json = False,
) -> None:
    """Put up to 10,000 jobs in, all or none, and print the batch's id.

    A job is {"kind": "resize", "payload": {}, "options": {"priority": 5}}; durations are seconds.
    """
    given = jobs_of(sys.stdin.read() if jobs == "-" else jobs)
    callbacks = {"on_success": _callback("--on-success", on_success), "on_complete": _callback("--on-complete", on_complete)}
    carry_out(_send(given, callbacks, name, tenant, as_json=as_json), as_json=as_json)


def jobs_of(text: str) -> list[tuple[str, Any, dict[str, Any]]]:
    """(kind, payload, options) of each job of a JSON list, or of one JSON object on each line."""
    lines = [line for line in text.splitlines() if line.strip()]
    found = payload_value(text) if text.lstrip().startswith("[") or len(lines) < 2 else [payload_value(line) for line in lines]
    return [_job(one, f"job {at}") for at, one in enumerate(found if isinstance(found, list) else [found])]


def _job(given: Any, what: str) -> tuple[str, Any, dict[str, Any]]:
    if not isinstance(given, dict) or not isinstance(given.get("kind"), str) or given.keys() - FIELDS:
        need = '{"kind": "resize", "payload": {"path": "a.png"}, "options": {"priority": 5}}'
        raise typer.BadParameter(f"{what} is {show.short(show.pretty(given), 80)}: need {need}.", param_hint="JSON")
    options = given.get("options") or {}
    if not isinstance(options, dict):
        raise typer.BadParameter(f"{what}: options are {show.short(show.pretty(options), 80)}: need an object.", param_hint="JSON")
    times = {name: moment(value) for name, value in options.items() if name in TIMES and isinstance(value, str)}
    return given["kind"], given.get("payload"), {**options, **times}


def _callback(flag: str, text: str | None) -> tuple[str, Any, dict[str, Any]] | None:
    if text is None:
        return None
    return _job(payload_value(text), flag) if text.lstrip().startswith("{") else (text, None, {})


async def _send(
    given: list[tuple[str, Any, dict[str, Any]]],
    callbacks: dict[str, tuple[str, Any, dict[str, Any]] | None],
    name: str | None,
    tenant: str | None,
    *,
    as_json: bool,
) -> None:
    from trunkline.cli.audited import audited
    from trunkline.cli.reach import application

    async with application(as_json=as_json) as app:
        calls = {what: await _made(app, call, tenant) for what, call in callbacks.items()}
        async with audited(app) as act:
            sent = await act.batches.send(given, name=name, tenant=tenant, on_success=calls["on_success"], on_complete=calls["on_complete"])
    duplicates = sum(not job.created for job in sent.jobs)
    if as_json:
        show.emit({"id": sent.id, "jobs": [{"id": job.id, "created": job.created} for job in sent.jobs]})
        return
    if duplicates:
        show.hint(f"{show.count(duplicates, 'job')} not new: a job that is already there holds the key, and is no child of the batch.")
    show.say(str(sent.id))


async def _made(app: Trunkline, call: tuple[str, Any, dict[str, Any]] | None, tenant: str | None) -> NewJob | None:
    return None if call is None else await app.checked_job(call[0], call[1], tenant, call[2])
