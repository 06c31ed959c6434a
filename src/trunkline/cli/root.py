"""The command line as a whole: every command's name, in the order people meet them.

Called by: trunkline.cli.main, and tests.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from trunkline.cli import show
from trunkline.cli.alerts import alerts
from trunkline.cli.audit import audit
from trunkline.cli.batches import batches
from trunkline.cli.bench import bench
from trunkline.cli.config import config, version
from trunkline.cli.connections import connections
from trunkline.cli.dead_letters import dead_letters
from trunkline.cli.doctor import doctor
from trunkline.cli.enqueue import enqueue
from trunkline.cli.gateway import gateway, serve
from trunkline.cli.jobs import jobs
from trunkline.cli.jobtypes import jobtypes
from trunkline.cli.keys import keys
from trunkline.cli.limits import limits
from trunkline.cli.migrate import migrate
from trunkline.cli.prompts import prompts
from trunkline.cli.queues import queues
from trunkline.cli.retention import retention
from trunkline.cli.schedules import schedules
from trunkline.cli.templates import templates
from trunkline.cli.tenants import tenants
from trunkline.cli.tokens import tokens
from trunkline.cli.up import up
from trunkline.cli.worker import worker


class _Naming(TyperGroup):
    """Wrong usage names the value, too; the checks of types and ranges that come with the arguments leave it out."""

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            from pydantic import ValidationError

            found = error.__cause__.errors() if isinstance(error.__cause__, ValidationError) else ()
            for one in found[:1]:
                said = one["msg"].removeprefix("Value error, ")
                need = said.removeprefix("Input should be ")
                error.message = said if need == said else f"{one['input']!r}: need {need}."
            raise


RUN, USE, OPERATE = "Run it", "Use it", "Look after it"
root = typer.Typer(
    name="trunkline",
    cls=_Naming,
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # a traceback is for bugs, and a plain one can be pasted
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="The database is TRUNKLINE_DATABASE_URL, or an embedded PostgreSQL in ./.trunkline (TRUNKLINE_DATA_DIR).",
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version as of

        show.say(f"trunkline {of('trunkline')}")
        raise typer.Exit


@root.callback()
def _root(
    _version_option: Annotated[bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)] = False,
) -> None:
    """A PostgreSQL-native job queue. PostgreSQL and nothing else."""


root.command(rich_help_panel=RUN)(up)
root.command(rich_help_panel=RUN)(worker)
root.command(rich_help_panel=RUN)(serve)
root.command(rich_help_panel=RUN)(gateway)
root.command(rich_help_panel=RUN)(migrate)
root.command(rich_help_panel=USE)(enqueue)
root.add_typer(jobs, name="jobs", rich_help_panel=USE)
root.add_typer(queues, name="queues", rich_help_panel=USE)
root.add_typer(schedules, name="schedules", rich_help_panel=USE)
root.add_typer(templates, name="templates", rich_help_panel=USE)
root.add_typer(batches, name="batches", rich_help_panel=USE)
root.add_typer(limits, name="limits", rich_help_panel=USE)
root.add_typer(connections, name="connections", rich_help_panel=USE)
root.add_typer(prompts, name="prompts", rich_help_panel=USE)
root.add_typer(dead_letters, name="dead-letters", rich_help_panel=USE)
root.add_typer(tokens, name="tokens", rich_help_panel=OPERATE)
root.command(rich_help_panel=OPERATE)(audit)
root.command(rich_help_panel=OPERATE)(alerts)
root.command(rich_help_panel=OPERATE)(doctor)
root.add_typer(jobtypes, name="jobtypes", rich_help_panel=OPERATE)
root.add_typer(keys, name="keys", rich_help_panel=OPERATE)
root.add_typer(tenants, name="tenants", rich_help_panel=OPERATE)
root.add_typer(retention, name="retention", rich_help_panel=OPERATE)
root.add_typer(config, name="config", rich_help_panel=OPERATE)
root.command(rich_help_panel=OPERATE)(version)
root.command(
    rich_help_panel=OPERATE,
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
)(bench)


def run_command_line() -> None:
    """Read the arguments of this process and carry them out."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that cannot show a letter must not cost the answer
    root(prog_name="trunkline")
