"""`trunkline bench` as a process."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys

import asyncpg
import pytest

from trunkline.errors import InvalidInput
from trunkline.measure import catalogue

WORKING = "select count(*) > 1 from pg_stat_activity where datname like $1 and application_name like 'trunkline%'"
LEFT = "select datname from pg_database where datname like 'trunkline_bench_%'"


async def bench(*flags: str) -> asyncio.subprocess.Process:
    """Start it."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "trunkline.measure",
        *flags,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={name: value for name, value in os.environ.items() if not name.startswith("TRUNKLINE_")},
    )


async def databases(url: str) -> list[str]:
    """What benches have made on the server."""
    conn = await asyncpg.connect(url)
    rows = await conn.fetch(LEFT)
    await conn.close()
    return [row[0] for row in rows]


async def test_one_json_line_a_measure(trunkline_server_url: str):
    """Only the named ones, on a server that was given; it is left as it was found."""
    process = await bench("--json", "--only", "enqueue_single", "--jobs", "50", "--pairs", "1", "--database-url", trunkline_server_url)
    out, err = await process.communicate()

    assert 0 == process.returncode, err.decode()
    (line,) = [json.loads(line) for line in out.splitlines()]
    assert ("enqueue_single", "trunkline", True) == (line["measure"], line["system"], line["verified"])
    assert {"cores", "cpu", "postgres", "postgres_settings", "python", "date"} <= line["machine"].keys()
    assert not [name for name in await databases(trunkline_server_url) if f"_{process.pid}_" in name]


async def test_a_stopped_bench_leaves_nothing_behind(trunkline_server_url: str):
    """SIGTERM in the middle of a measure."""
    process = await bench("--only", "sustained", "--seconds", "100", "--database-url", trunkline_server_url)
    conn = await asyncpg.connect(trunkline_server_url)
    async with asyncio.timeout(60):
        while not await conn.fetchval(WORKING, f"trunkline_bench_{process.pid}_%"):
            await asyncio.sleep(0.05)
    await conn.close()
    process.send_signal(signal.SIGTERM)
    await process.communicate()

    assert 130 == process.returncode
    assert not [name for name in await databases(trunkline_server_url) if f"_{process.pid}_" in name]


async def test_a_server_that_cannot_be_reached_is_named_without_its_password():
    """And the exit code is 1."""
    process = await bench("--only", "drain", "--database-url", "postgresql://bob:secret@127.0.0.1:1/nowhere")
    _, err = await process.communicate()

    assert 1 == process.returncode
    assert b"127.0.0.1:1" in err
    assert b"secret" not in err


async def test_an_unknown_measure_is_refused_with_the_known_ones():
    """Before anything is started."""
    process = await bench("--only", "drain,speed")
    _, err = await process.communicate()

    assert 2 == process.returncode
    assert b"speed" in err


def test_large_measures_run_when_asked_for():
    """By the flag, or by name."""
    normal, large = catalogue.chosen([], large=False), catalogue.chosen([], large=True)

    assert "claim_cost" not in [measure.names[0] for measure in normal]
    assert list(catalogue.MEASURES) == large
    assert ["claim_cost"] == [measure.names[0] for measure in catalogue.chosen(["claim_cost"], large=False)]


def test_names_are_those_of_the_peers():
    """`make bench-peers` measures the same things under the same names."""
    assert {"drain", "drain_two", "enqueue_bulk", "enqueue_single", "pickup", "sustained", "wal_per_job"} <= set(catalogue.NAMES)
    with pytest.raises(InvalidInput, match=r"fast.*drain"):
        catalogue.chosen(["fast"], large=False)
