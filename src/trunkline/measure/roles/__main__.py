"""Plays one role in a process of its own: `python -m trunkline.measure.roles ROLE ARGUMENTS`.

Started by: measure.processes, which gives the database in TRUNKLINE_BENCH_URL.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

from trunkline.measure.child import Parent, run
from trunkline.measure.roles import ROLES
from trunkline.observe import logs


async def _role(name: str, url: str, arguments: dict[str, Any]) -> None:
    parent = Parent()
    await parent.listen()
    await ROLES[name](parent, url, **arguments)


if __name__ == "__main__":
    signal.alarm(int(os.environ.get("TRUNKLINE_BENCH_DEADLINE_S", "600")))  # its default action ends the process
    logs.set_up("warning", "json")
    run(lambda: _role(sys.argv[1], os.environ["TRUNKLINE_BENCH_URL"], json.loads(sys.argv[2])))
