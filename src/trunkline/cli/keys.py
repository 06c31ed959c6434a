"""`trunkline keys`: make encryption keys, see what they encrypt, put everything under the newest.

Always true: a key is printed by `generate` and by nothing else; `rotate` can be stopped at any time and run again.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import typer

from trunkline.cli import show
from trunkline.cli.options import Json
from trunkline.cli.run import carry_out

if TYPE_CHECKING:
    from trunkline.engine.privacy import KeyReport

TELL_EVERY_S = 1.0
keys = typer.Typer(no_args_is_help=True, help="Keys that encrypt payloads and results.")


@keys.command()
def generate(as_json: Json = False) -> None:
    """Print a new key. Put it last in TRUNKLINE_ENCRYPTION_KEYS everywhere, then first; then rotate."""
    import secrets
    from base64 import urlsafe_b64encode

    key = urlsafe_b64encode(secrets.token_bytes(32)).decode()
    if as_json:
        show.emit({"key": key})
        return
    show.say(key)
    show.hint("Your first key: set TRUNKLINE_ENCRYPTION_KEYS to it for every process, and keep it: without it nothing is readable again.")
    show.hint("One more: set it everywhere as the last of them, then everywhere as the first; then: trunkline keys rotate")


@keys.command()
def check(as_json: Json = False) -> None:
    """Count what is encrypted with which key, in all tenants; exit code 1 when there is something that none of them opens."""
    _answer(carry_out(_walk(moves=False, as_json=as_json), as_json=as_json), as_json=as_json)


@keys.command()
def rotate(as_json: Json = False) -> None:
    """Encrypt anew, with the first key, what an older one encrypted, in all tenants; exit code 1 as for check."""
    _answer(carry_out(_walk(moves=True, as_json=as_json), as_json=as_json), as_json=as_json)


async def _walk(*, moves: bool, as_json: bool) -> KeyReport:
    from trunkline.audit import INSTALLATION
    from trunkline.cli.audited import audited
    from trunkline.cli.reach import application

    told_at = time.monotonic()

    def tell(report: KeyReport) -> None:
        nonlocal told_at
        if not as_json and sys.stderr.isatty() and time.monotonic() - told_at > TELL_EVERY_S:
            told_at = time.monotonic()
            show.hint(f"{report.rows:,} rows looked at, {sum(report.by_key.values()):,} encrypted, {report.moved:,} rotated")

    async with application(as_json=as_json) as app:
        if not moves:
            return await app.privacy.check(tell)
        # Many transactions: the first row says that they began, so that an end that never came can be seen.
        async with audited(app) as act:
            await act.noted(INSTALLATION, "keys.rotation_began", "keys")
        report = await app.privacy.rotate(tell)
        async with audited(app) as act:
            await act.noted(INSTALLATION, "keys.rotated", "keys", rotated=report.moved, unreadable=len(report.unreadable))
        return report


def _answer(report: KeyReport, *, as_json: bool) -> None:
    values = [{"what": what, "key": key or None, "count": count} for (what, key), count in sorted(report.by_key.items())]
    if as_json:
        show.emit({"rows": report.rows, "values": values, "rotated": report.moved, "unreadable": report.unreadable, "plain": report.plain})
    elif not values:
        show.hint(f"Nothing is encrypted among {report.rows:,} rows.")
    else:
        show.draw(show.table(("what", "key", "count"), map(_row, values), right=("count",)))
        if report.moved:
            show.say(f"{show.count(report.moved, 'value')} rotated to the first key.")
        for job_id in report.unreadable[:10]:
            show.say(f"{job_id}  is opened by none of these keys", style="red", stderr=True)
    for name in report.plain[:10]:
        show.say(f"{name} was plain, though its kind is encrypted" + ("" if report.moved else ": trunkline keys rotate encrypts it"))
    if report.unreadable:
        raise typer.Exit(1)


def _row(value: dict[str, Any]) -> list[Any]:
    key = value["key"]
    return [value["what"], "none of ours" if key is None else "first" if key == 1 else f"number {key}", f"{value['count']:,}"]
