"""Facts about where a run took place: figures mean nothing without them.

Called by: server, command.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import asyncpg

# Those that decide how fast a durable queue can be; what a version does not know is left out.
SETTINGS = (
    "shared_buffers",
    "max_wal_size",
    "checkpoint_timeout",
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "wal_level",
    "wal_compression",
    "wal_sync_method",
    "commit_delay",
    "autovacuum",
    "io_method",
    "max_connections",
    "shared_preload_libraries",
)
DURABLE = ("fsync", "synchronous_commit", "full_page_writes")


async def facts(admin: asyncpg.Connection) -> dict[str, Any]:
    """Cores, CPU, memory, system, PostgreSQL and its settings, Python, loop and date."""
    settings = {name: await admin.fetchval("select current_setting($1, true)", name) for name in SETTINGS}
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "cpu": _cpu(),
        "memory_gb": _memory_gb(),
        "system": f"{platform.system()} {platform.release()}",
        "postgres": await admin.fetchval("select current_setting('server_version')"),
        "postgres_settings": {name: value for name, value in settings.items() if value is not None},
        "durable": all(settings[name] == "on" for name in DURABLE),
        "python": platform.python_version(),
        "loop": loop_name(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def loop_name() -> str:
    """The event loop our processes run on."""
    try:
        return f"uvloop {version('uvloop')}"
    except PackageNotFoundError:
        return "asyncio"


def _cpu() -> str:
    """The CPU's model, which `platform` does not tell on Linux."""
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text("utf-8"), re.MULTILINE)
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor() or platform.machine()


def _memory_gb() -> float | None:
    if sys.platform == "win32" or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)
