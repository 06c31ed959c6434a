"""Operate it: the `trunkline` command.

```
root ── up ► demo          start everything here: database, schema, worker
     ├─ worker             run an application's handlers        (up and worker share: serve, interrupts)
     ├─ migrate  doctor ► checks  config  bench
     └─ enqueue  jobs ► why, watch  queues  limits  dead_letters
run      one event loop per command; what is refused becomes a sentence and an exit code
reach    which database a command means, and the open application on it
options  show    what commands share in front (arguments) and behind (tables, JSON)
```

Always true: standard output carries the answer and nothing else, so `--json` can be parsed; logs, hints and errors go to
standard error. Exit code 0: done; 1: refused, failed or not found, with one sentence; 2: wrong usage; 130: interrupted.
No text that came from a job reaches a terminal with its control characters.
Importing this package is cheap: each command imports what it needs when it runs.
"""

from __future__ import annotations


def main() -> None:
    """The entry point of `trunkline`."""
    from trunkline.cli.root import run_command_line

    run_command_line()
