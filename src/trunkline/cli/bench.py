"""`trunkline bench`: hands over to the room that measures, which is imported only then.

Always true: every argument, `--help` too, is that room's own.
"""

from __future__ import annotations

import typer

from trunkline.cli.run import refuse


def bench(ctx: typer.Context) -> None:
    """Measure the queue beside the same SQL without Python."""
    try:
        from trunkline.measure.command import bench as measured
    except ImportError as error:
        missing = error.name or "trunkline.measure"
        refuse(f"the benchmarks are not part of this installation (no {missing}). Run them from a checkout: make bench", "not_installed")
    inner = typer.Typer(add_completion=False, pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]})
    inner.command()(measured)
    inner(args=ctx.args, prog_name="trunkline bench")
