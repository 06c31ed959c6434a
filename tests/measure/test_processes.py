"""Processes of a run: what they say reaches the parent, and none outlives it."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from trunkline.measure.processes import started
from trunkline.measure.run import MeasureFailed


def is_alive(pid: int) -> bool:
    """Whether a process of this id runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_role_that_fails_says_why():
    """Its last words are in the error, so nobody has to run it again to see them."""
    async with started("work", "postgresql:///nowhere?host=/nowhere", 30, jobs=1) as child:
        with pytest.raises(MeasureFailed, match=r"'work' answered .*(?s:.*)nowhere"):
            await child.expect("ready")


async def test_a_process_is_gone_when_its_block_ends(trunkline_url: str):
    """Also one that waits for an order that never comes."""
    async with started("work", trunkline_url, 30, jobs=1) as child:
        await child.expect("ready")
        pid = child._process.pid

    assert not is_alive(pid)


async def test_a_process_ends_at_its_deadline(trunkline_url: str):
    """Should nobody else end it."""
    async with started("work", trunkline_url, 1, jobs=1) as child:
        await child.expect("ready")
        with pytest.raises(MeasureFailed, match="the end of its output"):
            await asyncio.wait_for(child.expect("done"), 20)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_the_url_is_not_in_the_command_line(trunkline_url: str):
    """It may hold a password, and command lines are for everybody to see."""
    async with started("work", trunkline_url, 30, jobs=1) as child:
        await child.expect("ready")
        words = Path(f"/proc/{child._process.pid}/cmdline").read_text()

    assert trunkline_url not in words
