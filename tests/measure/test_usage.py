"""CPU time and memory of processes."""

from __future__ import annotations

import os
import sys

import pytest

from trunkline.measure import usage
from trunkline.measure.server import Server

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.mark.asyncio(loop_scope="module")
async def test_the_cpu_of_a_backend_is_seen(server: Server):
    """It grows with what it does."""
    pid = server.admin.get_server_pid()
    before = usage.server_cpu_s([pid])
    await server.admin.execute("select count(*) from generate_series(1, 200000)")

    assert before is not None
    assert before < usage.server_cpu_s([pid])


def test_a_pid_that_is_no_postgres_here_belongs_to_another_host():
    """Then nothing is said, rather than something wrong."""
    assert usage.server_cpu_s([os.getpid()]) is None
    assert usage.postmaster_of(os.getpid()) is None
    assert usage.Others(None).share() is None


@pytest.mark.asyncio(loop_scope="module")
async def test_what_others_use_is_a_share_of_all_cores(server: Server):
    """Ours and the server's own work does not count."""
    share = usage.Others(server.postmaster).share()

    assert server.postmaster is not None
    assert share is not None
    assert share >= 0


def test_resident_memory_is_some_megabytes():
    """An interpreter takes more than one and less than a gigabyte."""
    assert 1 < usage.rss_mb() < 1024
