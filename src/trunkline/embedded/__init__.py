"""A PostgreSQL that belongs to a folder: found, made, started, shared and stopped without an administrator.

```
EmbeddedServer (server)      start / join / stop / crash / restart
   launch                    from "certainly dead" to "answers", or an error with the log's last lines
   cluster                   initdb into a side folder, then one rename
   guard ► watchdog          a process that stops the server when its last owner is gone
   binaries  reach           which PostgreSQL; a copy of it where the server's account may not read the original
   places    shelter         where everything of one data folder lies
   account                   who the server runs as
   removal                   deletes a data folder, wherever it lies
   owners    processes  locks   who still wants it / what still runs / flock
```

Always true: whoever changes the server's state holds the folder's gate; whoever wants the server holds an owner lock,
which the kernel drops when its process dies; every process of the server holds the server lock, so "the lock is free"
and "nothing runs" are the same sentence, across crashes, recycled pids and containers.
This room imports no third-party package, and importing it alone imports nothing: the watchdog starts through it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trunkline.embedded.binaries import Binaries, find_binaries, installed_binaries
    from trunkline.embedded.removal import erase
    from trunkline.embedded.server import EmbeddedServer

__all__ = ["Binaries", "EmbeddedServer", "erase", "find_binaries", "installed_binaries"]

_ROOMS = {
    "Binaries": "binaries",
    "EmbeddedServer": "server",
    "erase": "removal",
    "find_binaries": "binaries",
    "installed_binaries": "binaries",
}


def __getattr__(name: str) -> object:
    if name not in _ROOMS:
        raise AttributeError(f"trunkline.embedded has no {name!r}")
    return getattr(import_module(f"trunkline.embedded.{_ROOMS[name]}"), name)
