"""Puts a watchdog on duty for a data folder, unless one is.

Always true: when `ensure_watchdog` returned, a watchdog watches, in its own session and nobody's child. The caller
holds the gate, so two never start one each. Called by: server. Runs: watchdog.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from trunkline.embedded import owners
from trunkline.embedded.locks import POLL_S, is_held
from trunkline.embedded.places import Places, open_own
from trunkline.embedded.watchdog import READY
from trunkline.errors import EmbeddedFailed

# Without site-packages (-S), environment and user settings (-I), and with no bytecode written (-B): up in ~20 ms.
_BOOT = "import sys; sys.path.append(sys.argv[1]); from trunkline.embedded.watchdog import main; main(sys.argv[2:])"
_ROOT = Path(__file__).parents[2]


def ensure_watchdog(places: Places) -> None:
    """Start the watchdog if none is on duty, and wait until it watches.

    Raises:
        EmbeddedFailed: It did not come up within 20 s, or said something else.
    """
    if is_held(places.watchdog_lock):
        return
    socket_dir = places.socket_dir if places.socket_dir.parent != places.base else ""
    arguments = [str(part) for part in (_ROOT, places.home, places.token, places.account.uid, socket_dir)]
    log = open_own(places.log, os.O_WRONLY | os.O_APPEND)
    try:
        # Its own session: neither Ctrl-C nor a closed terminal reaches it.
        answer = subprocess.run(
            [sys.executable, "-I", "-S", "-B", "-c", _BOOT, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd="/",
            start_new_session=True,
            timeout=20,
            check=False,
        ).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EmbeddedFailed(f"The watchdog of {places.home} could not be started with {sys.executable!r}: {error}.") from error
    finally:
        os.close(log)
    if answer != READY:
        raise EmbeddedFailed(f"The watchdog of {places.home} ended at once. {places.log} says why.")


def wait_until_off_duty(places: Places, *, within_s: float = 2.0) -> None:
    """After the last stop: give the watchdog the moment it needs to see it and end; not if somebody came meanwhile."""
    deadline = time.monotonic() + within_s
    while is_held(places.watchdog_lock) and owners.living(places.owners) is None and time.monotonic() < deadline:
        time.sleep(POLL_S)
