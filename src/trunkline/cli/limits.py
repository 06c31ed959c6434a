"""`trunkline limits`: how many run at once and how often one starts; pause a kind, a key, a tenant; quotas; skip a failed one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from trunkline.cli import show
from trunkline.cli.options import JobId, Json, Tenant, seconds
from trunkline.cli.run import carry_out

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from trunkline.engine import Act
    from trunkline.store.limits import LimitView


class Rate(NamedTuple):
    """Starts in `per` seconds."""

    starts: float
    per: float


def rate_of(text: str) -> Rate:
    """`10`, `10/s`, `30/m`, `1/90s` as starts in seconds."""
    number, slash, per = text.partition("/")
    try:
        return Rate(float(number), seconds(per if per[:1].isdigit() else f"1{per}") if slash else 1.0)
    except ValueError:
        raise typer.BadParameter(f"{text!r}: need a number, or one with /s, /m, /h, such as 10/s, 30/m, 1/90s.") from None


limits = typer.Typer(no_args_is_help=True, help="Bound what runs at once and what starts; pause kinds, keys, tenants; quotas.")
QueueName = Annotated[str | None, typer.Option("--queue", metavar="NAME", help="The jobs of this queue.", show_default=False)]
Kind = Annotated[str | None, typer.Option(metavar="KIND", help="The jobs of this kind.", show_default=False)]
Key = Annotated[str | None, typer.Option(metavar="KEY", help="The jobs with this limit key.", show_default=False)]
Everything = Annotated[bool, typer.Option("--everything", help="All jobs of the tenant.")]
Burst = Annotated[int, typer.Option(min=0, max=1_000_000, help="So many more at once.")]
RateOption = Annotated[Rate | None, typer.Option(parser=rate_of, metavar="10/s|30/m", help="At most so many.", show_default=False)]


@limits.command("list")
def list_limits(tenant: Tenant = None, as_json: Json = False) -> None:
    """Every limit that is set or in use, with who runs and who waits."""
    carry_out(_list(tenant, as_json=as_json), as_json=as_json)


@limits.command("set")
def set_limit(
    queue: QueueName = None,
    kind: Kind = None,
    key: Key = None,
    concurrency: Annotated[int | None, typer.Option(min=1, max=1_000_000, help="At most so many at once.", show_default=False)] = None,
    rate: RateOption = None,
    burst: Burst = 0,
    tenant: Tenant = None,
    as_json: Json = False,
) -> None:
    """Bound a queue, a kind or a key; what is not named is not bounded any more."""
    scope = _exactly_one(queue=queue, kind=kind, key=key)
    count, per = rate or (None, 1.0)

    async def work(act: Act) -> str:
        await act.limits.set(**scope, concurrency=concurrency, rate=count, per=per, burst=burst, tenant=tenant)
        return f"The limit of {_spoken(scope)} is set."

    _carry_out(
        work,
        tenant,
        {**scope, "concurrency": concurrency, "rate": None if count is None else count / per, "burst": burst},
        as_json,
        makes=True,
    )


@limits.command()
def remove(queue: QueueName = None, kind: Kind = None, key: Key = None, tenant: Tenant = None, as_json: Json = False) -> None:
    """Take the bounds away; a kind has those of its handler again."""
    scope = _exactly_one(queue=queue, kind=kind, key=key)

    async def work(act: Act) -> str:
        found = await act.limits.remove(**scope, tenant=tenant)
        return f"The limit of {_spoken(scope)} is removed." if found else f"Nobody had set a limit of {_spoken(scope)}."

    _carry_out(work, tenant, scope, as_json)


@limits.command()
def block(
    key: Annotated[str, typer.Argument(metavar="KEY", help="The limit key.")],
    for_s: Annotated[float, typer.Argument(parser=seconds, metavar="90|5m|2h", help="So long.")],
    tenant: Tenant = None,
    as_json: Json = False,
) -> None:
    """Start nothing with a limit key for a while: a provider said to wait."""

    async def work(act: Act) -> str:
        await act.limits.block(key, for_s, tenant=tenant)
        return f"Nothing with the key {key!r} starts for {show.span(for_s)}."

    _carry_out(work, tenant, {"key": key, "seconds": for_s}, as_json, makes=True)


@limits.command()
def unblock(
    key: Annotated[str, typer.Argument(metavar="KEY", help="The limit key.")], tenant: Tenant = None, as_json: Json = False
) -> None:
    """Undo a block."""

    async def work(act: Act) -> str:
        await act.limits.unblock(key, tenant=tenant)
        return f"The key {key!r} is open."

    _carry_out(work, tenant, {"key": key}, as_json)


@limits.command()
def pause(kind: Kind = None, key: Key = None, everything: Everything = False, tenant: Tenant = None, as_json: Json = False) -> None:
    """Start no more jobs of a kind, of a key, or of the tenant; running ones go on. A queue: trunkline queues pause."""
    _switch(_exactly_one(kind=kind, key=key, everything=everything or None), tenant, True, as_json)


@limits.command()
def resume(kind: Kind = None, key: Key = None, everything: Everything = False, tenant: Tenant = None, as_json: Json = False) -> None:
    """Undo a pause."""
    _switch(_exactly_one(kind=kind, key=key, everything=everything or None), tenant, False, as_json)


@limits.command()
def quota(
    queued: Annotated[int | None, typer.Option(min=0, help="Jobs that have not started, at most.", show_default=False)] = None,
    rate: RateOption = None,
    burst: Burst = 0,
    off: Annotated[bool, typer.Option("--off", help="No quota any more.")] = False,
    tenant: Tenant = None,
    as_json: Json = False,
) -> None:
    """What a tenant may put in; without options, what it may now."""
    if off and (queued is not None or rate is not None):
        raise typer.BadParameter("--off takes the quota away: leave out the others.", param_hint="--off")
    count, per = rate or (None, 1.0)
    said: dict[str, Any] = {}

    async def work(act: Act) -> str:
        if off or queued is not None or rate is not None:
            await act.limits.quota(tenant, queued=queued, rate=count, per=per, burst=burst)
        now = await act.limits.quota_of(tenant)
        said.update({"queued": now and now.queued, "rate": now and now.rate, "burst": now and now.burst})
        if now is None:
            return "No quota."
        parts = [f"{now.queued:,} jobs queued"] if now.queued is not None else []
        return "At most " + " and ".join(parts + ([_rate(now.rate, now.burst)] if now.rate is not None else [])) + "."

    _carry_out(work, tenant, said, as_json, makes=queued is not None or rate is not None)


@limits.command()
def skip(job_id: JobId, tenant: Tenant = None, as_json: Json = False) -> None:
    """Let the jobs behind a failed one of its ordering key go on without it."""
    said: dict[str, Any] = {"id": job_id}

    async def work(act: Act) -> str:
        said["skipped"] = done = await act.limits.skip(job_id, tenant=tenant)
        return "Those behind it go on." if done else "It holds nobody up: it did not end failed, or has no ordering key."

    _carry_out(work, tenant, said, as_json)


def _switch(scope: dict[str, Any], tenant: str | None, paused: bool, as_json: bool) -> None:
    said: dict[str, Any] = {**scope, "paused": paused}

    async def work(act: Act) -> str:
        said["changed"] = changed = await (act.limits.pause if paused else act.limits.resume)(**scope, tenant=tenant)
        word = "paused" if paused else "running"
        return f"{_spoken(scope).capitalize()} is {word}." if changed else f"{_spoken(scope).capitalize()} was {word} already."

    _carry_out(work, tenant, said, as_json)


def _carry_out(
    work: Callable[[Act], Awaitable[str]], tenant: str | None, document: dict[str, Any], as_json: bool, *, makes: bool = False
) -> None:
    """Do `work` and print its answer; `makes`: a tenant that is not there is made, as an enqueue would."""

    async def done() -> None:
        from trunkline.cli.audited import audited
        from trunkline.cli.reach import application, existing_tenant

        async with application(as_json=as_json) as app:
            if not makes:
                await existing_tenant(app, tenant)
            async with audited(app) as act:
                answer = await work(act)
        show.emit(document) if as_json else show.say(answer)

    carry_out(done(), as_json=as_json)


def _exactly_one(**given: Any) -> dict[str, Any]:
    named = {name: value for name, value in given.items() if value is not None}
    if len(named) != 1:
        raise typer.BadParameter(f"need exactly one of {', '.join(f'--{name}' for name in given)}.")
    return named


def _spoken(scope: dict[str, Any]) -> str:
    ((name, value),) = scope.items()
    return "the tenant" if name == "everything" else f"{name} {show.short(value, 80)!r}"


async def _list(tenant: str | None, *, as_json: bool) -> None:
    from trunkline.cli.documents import limit_document
    from trunkline.cli.reach import application, existing_tenant
    from trunkline.store import limits as stored

    async with application(as_json=as_json) as app:
        tenant_id = await existing_tenant(app, tenant)
        found, all_paused = await stored.limits(app.store, tenant_id), await stored.is_tenant_paused(app.store, tenant_id)
    if as_json:
        show.emit({"tenantPaused": all_paused, "limits": [limit_document(limit) for limit in found]})
        return
    if all_paused:
        show.say("The tenant is paused, nothing of it starts. Go on with: trunkline limits resume --everything", style="yellow")
    if not found:
        show.hint("No limit is set: trunkline limits set --key NAME --concurrency 2")
    else:
        show.draw(_table(found))


def _table(found: list[LimitView]) -> Table:
    from rich.text import Text

    def row(limit: LimitView) -> list[str | Text]:
        bounds = [f"{limit.concurrency:,} at once"] if limit.concurrency is not None else []
        bounds += [_rate(limit.rate, limit.burst)] if limit.rate is not None else []
        shut = f"paused {show.ago(limit.paused_at, brief=True)}" if limit.paused_at else ""
        if limit.blocked_until is not None and not show.ago(limit.blocked_until).endswith("ago"):
            shut = f"blocked until {show.moment(limit.blocked_until)}"
        return [subject(limit), ", ".join(bounds), f"{limit.running:,}", f"{limit.promised + limit.waiting:,}", Text(shut, style="yellow")]

    return show.table(("of", "at most", "running", "waiting", ""), map(row, found), right=("running", "waiting"), cut="of")


def subject(limit: LimitView) -> str:
    """Whose limiter it is: `key customer-9`, `kind mail, key customer-9`, `order of order-17 in mail`."""
    match limit.scope:
        case "kind_key":
            return f"kind {limit.kind}, " + ("each key" if limit.key is None else f"key {show.short(limit.key, 60)}")
        case "ordering":
            return f"order of {show.short(limit.key, 60)} in {limit.queue}"
        case _:
            return f"{limit.scope} {show.short(limit.queue or limit.kind or limit.key, 60)}"


def _rate(rate: float | None, burst: int) -> str:
    each, unit = (
        (rate or 0, "second")
        if (rate or 0) >= 1
        else ((rate or 0) * 60, "minute")
        if (rate or 0) >= 1 / 60
        else ((rate or 0) * 3600, "hour")
    )
    return f"{each:.3g} a {unit}" + (f" and {burst:,} more at once" if burst else "")
