"""`room_fanout`: one server process tells 200 watchers of a room of events of 200 bytes; deliveries a second, and CPU for each.

Ours tells what its stream has read, as JSON made once; the floors are stock servers with one room and an `emit` for each event: one of
python-socketio, and one of Node's socket.io where `node` and the folder TRUNKLINE_BENCH_NODE (with socketio-server.mjs and its packages)
are there. The clients are the same for all: sockets in one process that only count (roles.listeners).
"""

from __future__ import annotations

import os
import shutil
import statistics
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple

from trunkline.measure import working
from trunkline.measure.pairs import interleaved
from trunkline.measure.processes import Child, launched, started
from trunkline.measure.remote_work import cpu
from trunkline.measure.result import Floor, Result, Target
from trunkline.measure.run import MeasureFailed, Run

NODE_FOLDER = "TRUNKLINE_BENCH_NODE"
CLIENTS, BYTES = 200, 200
STOCK = {"python": "a stock python-socketio server, one room", "node": "a stock Node socket.io server, one room"}


class Delivered(NamedTuple):
    """Of one run."""

    per_s: float
    cpu_us: float


async def measure(run: Run) -> list[Result]:
    """Deliveries a second."""
    events = max(run.sizes.jobs // 100, 10)
    sides: dict[str, Callable[[], Awaitable[Delivered]]] = {"ours": lambda: _ours(run, events), "python": lambda: _stock(run, events)}
    if (script := _node()) is not None:
        sides["node"] = lambda: _of_node(run, events, script)
    told = dict(zip(sides, await interleaved(run.sizes.pairs, *sides.values()), strict=True))
    ours = told.pop("ours")
    floors = {name: Floor.of(STOCK[name], [each.per_s for each in ours], [each.per_s for each in theirs]) for name, theirs in told.items()}
    ratios = {f"ratio_{name}": floor.ratio.median for name, floor in floors.items()}
    targets = [Target("ratio_python", ">=", 2.5), Target("cpu_us", "<=", 12)]
    if "ratio_node" in ratios:
        targets.append(Target("ratio_node", ">=", 1))
    return [
        Result(
            measure="room_fanout",
            value=statistics.median(each.per_s for each in ours),
            unit="deliveries/s",
            n=events * CLIENTS,
            pairs=len(ours),
            verified=True,
            floors=floors,
            targets=tuple(targets),
            extra={"cpu_us": statistics.median(each.cpu_us for each in ours), **ratios},
        )
    ]


def _node() -> Path | None:
    script = Path(os.environ.get(NODE_FOLDER, "")) / "socketio-server.mjs"
    return script if shutil.which("node") and script.exists() and (script.parent / "node_modules" / "socket.io").exists() else None


async def _ours(run: Run, events: int) -> Delivered:
    async with run.server.fresh() as url:
        return await _delivered(run, started("gateway", url, run.sizes.deadline_s), events, "/jobs", ["subscribe:jobs", {}])


async def _stock(run: Run, events: int) -> Delivered:
    return await _delivered(run, started("stock", "", run.sizes.deadline_s), events, "/", ["join", {}])


async def _of_node(run: Run, events: int, script: Path) -> Delivered:
    return await _delivered(run, launched("node", ("node", str(script)), "", run.sizes.deadline_s), events, "/", ["join", {}])


async def _delivered(run: Run, serving: AbstractAsyncContextManager[Child], events: int, namespace: str, join: list[Any]) -> Delivered:
    wanted = events * CLIENTS
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(serving)
        port = (await server.expect("ready"))["port"]
        where = {"port": port, "path": "/socket.io", "namespace": namespace, "auth": {}, "join": join, "clients": CLIENTS}
        listeners = await stack.enter_async_context(started("listen", "", run.sizes.deadline_s, **where))
        await listeners.expect("ready")
        before = await cpu(server)
        listeners.tell(f"count:{wanted}")
        server.tell(f"emit:{events}:{BYTES}")
        began = float((await server.expect("emitted"))["began"])
        counted = await working.answered(run, listeners, "counted", wanted)
        used = await cpu(server) - before
        listeners.tell("stop")
        await listeners.expect("done")
        server.tell("stop")
        await server.expect("done")
    if counted["count"] != wanted or counted["lost"]:
        raise MeasureFailed(f"{counted['count']} of {wanted} deliveries, {counted['lost']} sockets lost.")
    return Delivered(wanted / (counted["at"] - began), used / wanted * 1e6)
