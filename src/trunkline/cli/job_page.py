"""`trunkline jobs show`: one job on a page.

Called by: jobs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trunkline.cli import show

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from trunkline.model import JobView


async def show_page(job_id: str, tenant: str | None, *, decrypt: bool, as_json: bool) -> None:
    """Read everything that is kept about a job and print it; what is encrypted only where `decrypt` asks for it."""
    from trunkline.cli import documents, why
    from trunkline.cli.reach import application, existing_tenant
    from trunkline.engine.privacy import NO_KEYS, conceal
    from trunkline.errors import InvalidSetting, NotFound
    from trunkline.model import as_uuid
    from trunkline.store import read

    identity = as_uuid(job_id)
    async with application(as_json=as_json) as app:
        tenant_id = await existing_tenant(app, tenant)
        job = await read.job(app.store, tenant_id, identity)
        if job is None:
            raise NotFound(
                f"job {identity} is not known in tenant {tenant or app.settings.tenant!r}. Jobs go when their retention is over."
            )
        if decrypt and app.privacy.vault is None:
            raise InvalidSetting(NO_KEYS)
        job = app.privacy.reveal(job) if decrypt else conceal(job)
        reasons = await why.reasons(app.store, job)
        attempts, lines = await read.attempts(app.store, tenant_id, identity), await read.log(app.store, tenant_id, identity)
    if as_json:
        show.emit({**documents.job_document(job), "why": reasons, "attempts": _camel(attempts), "log": _camel(lines)})
        return
    show.draw(_facts(job))
    for reason in reasons:
        show.say(f"\n{reason}", style="yellow" if job.state != "active" else None)
    _print_value("Payload", job.payload)
    _print_value("Result", job.result)
    _print_error(job)
    if attempts:
        show.say("\nAttempts that did not complete", style="bold")
        show.draw(_attempts(attempts))
    if lines:
        show.say("\nLog", style="bold")
        _print_log(lines)


def _facts(job: JobView) -> Table:
    from trunkline.cli.watch import percentage

    took = show.span((job.finished_at - job.started_at).total_seconds()) if job.started_at and job.finished_at else None
    message = job.progress.get("message") if isinstance(job.progress, dict) else None
    progress = f"{percentage(job):.0f} %" + (f", {show.short(message)}" if message else "") if job.progress else None
    return show.facts(
        [
            ("Job", job.id),
            ("Kind", f"{job.kind}, queue {job.queue}" if job.kind != job.queue else job.kind),
            ("State", show.state(job.state)),
            ("Progress", progress),
            ("Attempt", f"{job.attempt}, {show.count(job.failures, 'failure')} counted" if job.attempt else None),
            ("Priority", job.priority or None),
            ("User", job.user_id),
            ("Created", show.moment(job.created_at)),
            ("Runs at", show.moment(job.run_at)),
            ("Started", show.moment(job.started_at)),
            ("Ended", (show.moment(job.finished_at) or "") + (f", took {took}" if took else "") if job.finished_at else None),
            ("Options", show.short(show.pretty(job.options)) if job.options else None),
        ]
    )


def _print_value(title: str, value: Any) -> None:
    from trunkline.engine.privacy import is_hidden

    if value in (None, {}):
        return
    show.say(f"\n{title}", style="bold")
    if is_hidden(value):
        show.say("encrypted; --decrypt shows it where TRUNKLINE_ENCRYPTION_KEYS has its key", style="dim")
    else:
        show.say(show.pretty(value))


def _print_error(job: JobView) -> None:
    if not isinstance(job.error, dict):
        return
    show.say(f"\n{job.error.get('type', 'Error')}: {job.error.get('message', '')}", style="red")
    if trace := job.error.get("traceback"):
        show.say(str(trace).rstrip(), style="dim")


def _attempts(attempts: list[dict[str, Any]]) -> Table:
    def row(attempt: dict[str, Any]) -> list[str | Text]:
        began, ended = attempt["started_at"], attempt["ended_at"]
        took = show.span((ended - began).total_seconds()) if began else "-"
        return [str(attempt["attempt"]), attempt["ending"], show.ago(ended, brief=True), took, show.reason(attempt["error"], 300)]

    return show.table(("attempt", "ending", "ended", "took", "error"), map(row, attempts), right=("attempt",), cut="error")


def _print_log(lines: list[dict[str, Any]]) -> None:
    """Whole messages, however long: this is the page to read them on."""
    for line in lines:
        fields = " ".join(f"{name}={value}" for name, value in (line["fields"] or {}).items())
        style = {"error": "red", "warning": "yellow", "debug": "dim"}.get(line["level"])
        said = f"{line['message']}  {fields}" if fields else line["message"]
        show.say(f"{line['logged_at']:%H:%M:%S}  {line['level']:<7}  {said}", style=style)


def _camel(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    names = {"started_at": "startedAt", "ended_at": "endedAt", "logged_at": "loggedAt"}
    return [{names.get(name, name): value for name, value in row.items()} for row in rows]
