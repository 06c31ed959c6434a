"""`trunkline tokens`: customers' tokens made, imported, listed, ended.

Always true: a plain token is printed once, by the command that made it, and never again.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trunkline.cli import show
from trunkline.cli.options import Json, Tenant, names, seconds
from trunkline.cli.run import carry_out

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from trunkline.store.tokens import TokenView

tokens = typer.Typer(no_args_is_help=True, help="Customer tokens: make, import, list and end them.")
TokenId = Annotated[str, typer.Argument(metavar="ID", help="The token's id (not the token).")]
Description = Annotated[str, typer.Option(metavar="TEXT", help="For people: whose it is and what for.")]
Scopes = Annotated[
    list[str] | None,
    typer.Option("--scope", metavar="SCOPE", help="send, work, watch, admin; may be given several times. Unset: send, work, watch."),
]
ExpiresIn = Annotated[
    float | None, typer.Option(parser=seconds, metavar="90d|12h", help="Good for this long. Unset: until it is ended.", show_default=False)
]


@tokens.callback()
def _group() -> None:
    """Customer tokens: make, import, list and end them."""


@tokens.command()
def create(
    tenant: Tenant = None, description: Description = "", scope: Scopes = None, expires_in: ExpiresIn = None, as_json: Json = False
) -> None:
    """Make a token and print it, this once; a tenant that is new is made."""
    carry_out(_create(tenant, None, description, scope, expires_in, as_json=as_json), as_json=as_json)


@tokens.command("import")
def import_token(
    value: Annotated[
        str, typer.Argument(metavar="VALUE", help="The plain token; - reads it from standard input, past the shell's history.")
    ],
    tenant: Tenant = None,
    description: Description = "",
    scope: Scopes = None,
    expires_in: ExpiresIn = None,
    as_json: Json = False,
) -> None:
    """Let a token that a customer already uses be good here; only its hash is kept."""
    plain = sys.stdin.read().strip() if value == "-" else value
    carry_out(_create(tenant, plain, description, scope, expires_in, as_json=as_json), as_json=as_json)


@tokens.command("list")
def list_tokens(tenant: Tenant = None, as_json: Json = False) -> None:
    """A tenant's tokens, newest first."""
    carry_out(_list(tenant, as_json=as_json), as_json=as_json)


@tokens.command("show")
def show_token(token: TokenId, tenant: Tenant = None, as_json: Json = False) -> None:
    """Everything about one token but its value."""
    carry_out(_show(token, tenant, as_json=as_json), as_json=as_json)


@tokens.command()
def deactivate(token: TokenId, tenant: Tenant = None, as_json: Json = False) -> None:
    """End a token for good; its open sockets are cut within 5 seconds."""
    carry_out(_deactivate(token, tenant, as_json=as_json), as_json=as_json)


async def _create(
    tenant: str | None, plain: str | None, description: str, scope: list[str] | None, expires_in_s: float | None, *, as_json: bool
) -> None:
    from trunkline.auth.tokens import DEFAULT_SCOPES, Tokens
    from trunkline.cli.audited import audited
    from trunkline.cli.reach import application

    scopes = names(scope) if scope else DEFAULT_SCOPES
    expires_at = None if expires_in_s is None else datetime.now(UTC) + timedelta(seconds=expires_in_s)
    async with application(as_json=as_json) as app:
        tenant_id = await app.tenant_id(tenant)
        made: dict[str, Any] = {"tenant": tenant or app.settings.tenant, "description": description}
        async with audited(app) as act:
            service = Tokens(act.store)
            if plain is None:
                token_id, made["token"] = await service.create(tenant_id, description=description, scopes=scopes, expires_at=expires_at)
            else:
                token_id = await service.import_token(tenant_id, plain, description=description, scopes=scopes, expires_at=expires_at)
            what = "token.created" if plain is None else "token.imported"
            await act.noted(tenant_id, what, f"token:{token_id}", scopes=sorted(scopes), description=description)
    if as_json:
        show.emit({"id": token_id, **made})
    elif plain is None:
        show.say(made["token"], whole=True)
        show.hint(f"Token {token_id} of tenant {made['tenant']!r}. It is shown this once: keep it now.")
    else:
        show.say(f"Token {token_id} of tenant {made['tenant']!r} is good from now on.")


async def _list(tenant: str | None, *, as_json: bool) -> None:
    from trunkline.auth import Tokens
    from trunkline.cli.reach import application, existing_tenant

    async with application(as_json=as_json) as app:
        found = await Tokens(app.store).of(await existing_tenant(app, tenant))
    if as_json:
        show.emit({"tokens": [_document(token) for token in found]})
    elif not found:
        show.hint("No token yet. Make one: trunkline tokens create")
    else:
        show.draw(_table(found))


async def _show(token: str, tenant: str | None, *, as_json: bool) -> None:
    from trunkline.auth import Tokens
    from trunkline.cli.reach import application, existing_tenant

    async with application(as_json=as_json) as app:
        document = _document(await Tokens(app.store).get(await existing_tenant(app, tenant), token))
    if as_json:
        show.emit(document)
    else:
        show.draw(show.facts((name, ", ".join(value) if isinstance(value, list) else value) for name, value in document.items()))


async def _deactivate(token: str, tenant: str | None, *, as_json: bool) -> None:
    from trunkline.auth import Tokens
    from trunkline.cli.audited import audited
    from trunkline.cli.reach import application, existing_tenant

    async with application(as_json=as_json) as app:
        tenant_id = await existing_tenant(app, tenant)
        async with audited(app) as act:
            if changed := await Tokens(act.store).deactivate(tenant_id, token):
                await act.noted(tenant_id, "token.deactivated", f"token:{token}")
    if as_json:
        show.emit({"id": token, "active": False, "changed": changed})
    else:
        show.say(f"Token {token} is over." if changed else f"Token {token} was over already.")


def _document(token: TokenView) -> dict[str, Any]:
    return {
        "id": token.token_id,
        "description": token.description,
        "scopes": token.scopes,
        "isActive": token.is_active,
        "isLive": token.is_live,
        "createdAt": token.created_at,
        "updatedAt": token.updated_at,
        "expiresAt": token.expires_at,
        "lastUsedAt": token.last_used_at,
        "deactivatedAt": token.deactivated_at,
    }


def _table(found: list[TokenView]) -> Table:
    from rich.text import Text

    def row(token: TokenView) -> list[str | Text]:
        state = Text("good" if token.is_live else "expired" if token.is_active else "ended", style="" if token.is_live else "dim")
        used = show.ago(token.last_used_at, brief=True) if token.last_used_at else "-"
        until = f"{token.expires_at:%Y-%m-%d %H:%M}" if token.expires_at else "-"
        return [str(token.token_id), state, ", ".join(token.scopes), used, until, show.short(token.description, 60)]

    return show.table(("id", "", "scopes", "last used", "expires", "description"), map(row, found), cut="description")
