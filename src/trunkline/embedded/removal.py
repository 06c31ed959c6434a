"""Deletes a data folder with everything that belongs to it, wherever it lies.

Always true: it deletes only a folder that Trunkline made, and only while nobody owns its server and nothing of it runs.
Called by: cli, tests.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from trunkline.embedded import owners
from trunkline.embedded.locks import held, open_lock, try_exclusive
from trunkline.embedded.places import gate_of, prepare
from trunkline.errors import EmbeddedFailed


def erase(data_dir: str | Path, *, within_s: float = 10.0) -> None:
    """Delete the data folder, its database (also one kept in the shelter) and its socket folder. No folder is fine.

    Raises:
        EmbeddedFailed: Somebody still owns the server, or the folder is not one of ours.
    """
    home = Path(data_dir).expanduser().resolve()
    if not home.exists():
        return
    if not (home / "id").exists():
        raise EmbeddedFailed(f"{home} is not a data folder of Trunkline (no `id` in it). Nothing was deleted.")
    with held(gate_of(home), within_s=within_s):
        places = prepare(home)
        lock_fd = open_lock(places.server_lock)
        try:
            if owners.living(places.owners) or not try_exclusive(lock_fd):
                raise EmbeddedFailed(f"The server of {home} is in use. Stop every process that uses it first. Nothing was deleted.")
            for folder in dict.fromkeys((places.base, places.socket_dir, home)):
                if folder.exists():
                    shutil.rmtree(folder)
        finally:
            os.close(lock_fd)
