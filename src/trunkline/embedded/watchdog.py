"""The process that stops a server when its last owner is gone.

Always true: it decides under the gate, so an owner that arrives is either seen in time or starts the server anew after
the stop; it sleeps inside flock until an owner ends, so it costs nothing; it is alone (its own lock says so), in its
own session, and deaf to signals a terminal or a supervisor sends to everybody.
Started by: guard, as `python -I -S`. Standard library only; `trunkline` and this room import nothing on their way here.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import sys
from pathlib import Path

from trunkline.embedded import owners, processes
from trunkline.embedded.locks import open_lock, wait_until_free

READY = b"watching"
# Together under 5 s, with room for a busy machine: a checkpoint cut short here is only replayed at the next start.
FAST_S, IMMEDIATE_S, KILL_S = 3.0, 0.8, 5.0


def main(arguments: list[str]) -> None:
    """Watch over one data folder until nobody wants its server, then stop it.

    Args:
        arguments: data folder, token, uid of the server's account, socket folder to remove at the end (or "").
    """
    home, token, uid, socket_dir = Path(arguments[0]), arguments[1], int(arguments[2]), arguments[3]
    if os.fork():
        os._exit(0)  # so that our parent waits for nothing and inherits no zombie
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # Opened now: they stay ours even if the folder is deleted under a running server, or deleted and made again.
    gate, server, duty = (open_lock(home / name) for name in ("gate.lock", "server.lock", "watchdog.lock"))
    fcntl.flock(duty, fcntl.LOCK_EX)
    os.write(1, READY)
    os.dup2(os.open(os.devnull, os.O_RDWR), 1)
    _wait_for_the_last_owner(home / "owners", gate)
    if not processes.halt(server, token, uid, fast_s=FAST_S, immediate_s=IMMEDIATE_S, kill_s=KILL_S):
        print(f"trunkline watchdog: the server of {home} would not end; something still runs for it.", file=sys.stderr)
    if socket_dir:
        with contextlib.suppress(OSError):
            Path(socket_dir).rmdir()
    os.close(duty)  # before the gate: whoever has the gate next must find that nobody watches
    os.close(server)
    os._exit(0)


def _wait_for_the_last_owner(folder: Path, gate: int) -> None:
    """Return with the gate held and no owner alive."""
    while True:
        while (path := owners.living(folder)) is not None:
            wait_until_free(path)
        fcntl.flock(gate, fcntl.LOCK_EX)
        if owners.living(folder) is None:
            return
        fcntl.flock(gate, fcntl.LOCK_UN)
