"""What a person reads first when something starts: which database, how to look into it, what the worker can do.

Called by: up, worker.
"""

from __future__ import annotations

import shlex
import shutil
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from trunkline.cli import show
from trunkline.cli.voice import Voice

if TYPE_CHECKING:
    from trunkline.app import Trunkline
    from trunkline.cli.reach import Reached
    from trunkline.store.migrate import Migrated

LABEL = 11  # columns: the two tables below line up


def database(reached: Reached, migrated: Migrated, voice: Voice) -> None:
    """Where the data is, and the psql command that shows it."""
    from trunkline.store.migrate import code_version

    server, url, command = reached.server, show.masked(reached.url), connect_command(reached)
    schema, applied = reached.settings.schema_name, len(migrated.migrations)
    voice.say(f"Trunkline {code_version()}\n", style="bold")
    voice.draw(
        show.facts(
            [
                ("Database", f"PostgreSQL {server.version}, embedded" if server else "the one in TRUNKLINE_DATABASE_URL"),
                ("Data folder", server.data_dir if server else None),
                ("Schema", f"{schema}, {show.count(applied, 'migration')} applied" if applied else f"{schema}, up to date"),
            ],
            label=LABEL,
        )
    )
    if not voice.as_json:
        show.labelled("URL", url, width=LABEL)
        show.labelled("Look inside", command, width=LABEL)
    voice.event(
        "database",
        url=url,
        dataDir=str(server.data_dir) if server else None,
        version=server.version if server else None,
        connect=command,
        schema=schema,
        migrations=migrated.migrations,
    )


def ready(app: Trunkline, voice: Voice, concurrency: int | None, queues: list[str] | None = None) -> None:
    """What the worker does; `concurrency` 0: there is none, None: the setting's. `queues` None: those of the handlers."""
    kinds = [] if concurrency == 0 else sorted(handler.kind for handler in app.registry)
    at_once = app.settings.concurrency if concurrency is None else concurrency
    where = f" from {', '.join(queues)}" if queues else ""
    if kinds:
        voice.draw(show.facts([("Worker", f"{show.count(at_once, 'job')} at once{where}; handles {', '.join(kinds)}")], label=LABEL))
    voice.event("ready", kinds=kinds, concurrency=at_once, **({"queues": queues} if queues else {}))


def connect_command(reached: Reached) -> str:
    """The psql command line; it holds no password."""
    if reached.server is None:
        return 'psql "$TRUNKLINE_DATABASE_URL"'
    parts = urlsplit(reached.url)
    return shlex.join([_psql(reached), "-h", parse_qs(parts.query)["host"][0], "-U", parts.username or "trunkline", parts.path[1:]])


def _psql(reached: Reached) -> str:
    """The one on the PATH, else the one beside the server's programs."""
    from trunkline.embedded import find_binaries

    if shutil.which("psql"):
        return "psql"
    beside = find_binaries(reached.settings.pg_bin_dir).bin_dir / "psql"
    return str(beside) if beside.exists() else "psql"


async def metrics(app: Trunkline, port: int | None, voice: Voice) -> None:
    """Open the port for Prometheus, where the command or the settings want one, and say where it is."""
    if port is None and app.settings.metrics_port is None:
        return
    served = await app.start_metrics(port=port)
    voice.say(f"Metrics: http://{app.settings.metrics_host}:{served}/metrics")
    voice.event("metrics", host=app.settings.metrics_host, port=served)
