"""`trunkline serve`: the REST API, and beside it the sockets, on one port. It runs no handler itself."""

from __future__ import annotations

from typing import Annotated

import typer

from trunkline.cli.gateway import serve_until_asked
from trunkline.cli.options import Json
from trunkline.cli.run import carry_out, leave


def serve(
    host: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Unset: TRUNKLINE_HOST.", show_default=False)] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="0: any free one. Unset: TRUNKLINE_PORT.", show_default=False)] = None,
    as_json: Json = False,
) -> None:
    """Serve the REST API under /api, and the sockets of `gateway`, on one port. Ctrl-C stops it."""
    leave(carry_out(serve_until_asked(host, port, api=True, as_json=as_json), as_json=as_json))
