"""`python -m trunkline.measure`: the bench without the rest of the command line."""

from __future__ import annotations

import typer

from trunkline.measure.command import bench

if __name__ == "__main__":
    typer.run(bench)
