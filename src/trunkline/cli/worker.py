"""`trunkline worker module:app`: run the handlers of an application that is written in Python.

Always true: the job types of installed packages are declared beside the application's; the application's own settings
count, not this command's; its module is looked for in the current folder first.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trunkline.cli import show
from trunkline.cli.options import Json, MetricsPort, names
from trunkline.cli.run import carry_out, leave, refusals

if TYPE_CHECKING:
    from trunkline.app import Trunkline
    from trunkline.cli.voice import Voice


def worker(
    application: Annotated[str, typer.Argument(metavar="MODULE:APP", help="Where the Trunkline object is, such as tasks:app.")],
    concurrency: Annotated[int | None, typer.Option(min=1, help="Jobs at once. Unset: TRUNKLINE_CONCURRENCY.", show_default=False)] = None,
    queues: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Serve only these queues: a,b or repeated.", show_default=False)
    ] = None,
    prune_schedules: Annotated[
        bool, typer.Option("--prune-schedules", help="Take away schedules that code declared and this application does not.")
    ] = False,
    metrics_port: MetricsPort = None,
    as_json: Json = False,
) -> None:
    """Run the handlers of an application. Ctrl-C stops it: running jobs finish, or are handed back."""
    module, colon, attribute = application.partition(":")
    if not (module and colon and attribute):
        raise typer.BadParameter(f"{application!r}: need module:app, such as tasks:app.", param_hint="MODULE:APP")
    with refusals(as_json=as_json):  # before a loop runs, as the module may want one of its own
        app = load(module, attribute)
        app.load_plugins()
    wanted = names(queues) if queues else None
    how = {"concurrency": concurrency, "queues": wanted, "prune_schedules": prune_schedules}
    leave(carry_out(_work(app, application, how, metrics_port, as_json=as_json), as_json=as_json))


async def _work(app: Trunkline, name: str, how: dict[str, Any], metrics_port: int | None, *, as_json: bool) -> int:
    from trunkline.cli import serve, welcome
    from trunkline.cli.config import warn_of_misspelt
    from trunkline.cli.interrupts import Interrupts, Stopped
    from trunkline.cli.reach import LOG_LEVEL
    from trunkline.cli.voice import Voice
    from trunkline.observe import logs

    voice = Voice(as_json=as_json)
    # A person at a terminal is told by the voice; a service's log gets what the settings ask for.
    level = "warning" if sys.stderr.isatty() and not os.environ.get(LOG_LEVEL) else app.settings.log_level
    logs.set_up(level, app.settings.log_format)
    warn_of_misspelt(os.environ)
    async with AsyncExitStack() as stack:
        interrupts = stack.enter_context(Interrupts())
        try:
            await interrupts.unless_asked(_open(app, stack, voice))
            await interrupts.unless_asked(welcome.metrics(app, metrics_port, voice))
            worker = await interrupts.unless_asked(app.start_worker(**how))
        except Stopped:
            voice.say("Stopped before everything was up.")
            return 130
        voice.say(f"{name} on {show.masked(app.settings.database_url or '')}", whole=True)
        welcome.ready(app, voice, how["concurrency"], how["queues"])
        await serve.until_asked(worker, interrupts, voice)
        return await serve.stop(app, worker, voice)


async def _open(app: Trunkline, stack: AsyncExitStack, voice: Voice) -> None:
    """Open the application on its own database; both are closed with the stack."""
    from trunkline.cli.reach import database

    reached = await stack.enter_async_context(database(app.settings, make=True, quiet=voice.as_json))
    app.settings = reached.settings
    stack.push_async_callback(app.close)
    await app.open(migrate=True if reached.server else None)


def load(module: str, attribute: str) -> Trunkline:
    """Import the application.

    Raises:
        InvalidInput: the module or the attribute is missing, fails, or is something else.
    """
    from trunkline.app import Trunkline
    from trunkline.errors import InvalidInput, TrunklineError

    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        found: Any = importlib.import_module(module)
    except TrunklineError:
        raise
    except ModuleNotFoundError as error:
        if error.name and (module == error.name or module.startswith(f"{error.name}.")):
            raise InvalidInput(f"there is no module {module!r} in {folder} or among the installed packages.") from None
        raise InvalidInput(f"module {module!r} cannot be imported: {error}{_where(error)}. Install what it needs.") from error
    except Exception as error:
        raise InvalidInput(f"module {module!r} cannot be imported: {type(error).__name__}: {error}{_where(error)}.") from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            others = (
                ", ".join(name for name, value in vars(found).items() if isinstance(value, Trunkline)) if hasattr(found, "__dict__") else ""
            )
            raise InvalidInput(
                f"module {module!r} has no {attribute!r}." + (f" It has: {others}." if others else " It needs: app = Trunkline().")
            )
        found = getattr(found, part)
    if not isinstance(found, Trunkline):
        raise InvalidInput(
            f"{module}:{attribute} is a {type(found).__module__}.{type(found).__qualname__}: need a trunkline.Trunkline object."
        )
    return found


def _where(error: BaseException) -> str:
    """` (tasks.py, line 3)`: the innermost line of it that is no part of Python's import machinery."""
    if isinstance(error, SyntaxError):
        return ""  # its message says so
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename and frame.filename != __file__
    ]
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
