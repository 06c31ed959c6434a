"""Job types of installed packages: real ones, with metadata, in a folder on sys.path; and `trunkline jobtypes`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from trunkline import Trunkline
from trunkline.errors import InvalidInput
from trunkline.settings import Settings

ROOT = Path(__file__).parents[2]
Install = Callable[..., None]
DECLARES = """
def register(app):
    @app.job({kind!r}, queue={queue!r})
    async def handler(payload: dict) -> dict:
        return {{"from": __name__, **payload}}
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a package with an entry point where Python finds installed ones."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def put(module: str, source: str | None = None, *, kind: str = "mail", points: str | None = None) -> None:
        (tmp_path / f"{module}.py").write_text(DECLARES.format(kind=kind, queue=kind) if source is None else source)
        info = tmp_path / f"{module}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module.replace('_', '-')}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[trunkline.jobtypes]\n{points or f'{module} = {module}:register'}\n")
        monkeypatch.delitem(sys.modules, module, raising=False)

    return put


def application(url: str | None = None, **environ: str) -> Trunkline:
    return Trunkline(settings=Settings.load(environ, database_url=url or "postgresql://nobody@localhost/nothing"))


async def test_an_installed_package_brings_its_job_types(install, trunkline_url):
    """They run without a line in the application."""
    install("acme_mail")
    app = application(trunkline_url)
    (plugin,) = app.load_plugins()

    assert ("acme_mail", "acme-mail 1.2", "on", ("mail",)) == (plugin.name, plugin.package, plugin.state, plugin.kinds)
    async with app:
        await app.start_worker()
        assert {"from": "acme_mail", "to": "x"} == await app.wait(await app.enqueue("mail", {"to": "x"}), 30)


@pytest.mark.parametrize(
    "source, said",
    [
        ("import not_installed_anywhere", "ModuleNotFoundError"),
        ("1 / 0", "ZeroDivisionError"),
        ("register = 3", "need a function that takes the application"),
        ("other = 3", "AttributeError"),
        (DECLARES.format(kind="mail", queue="mail") + "    app.middleware(3)\n", "InvalidInput"),
        (DECLARES.format(kind="mail", queue="mail") + "    app.on('started')(print)\n    raise SystemError('half way')\n", "half way"),
    ],
    ids=["import", "module", "no function", "no name", "middleware", "half way"],
)
def test_one_that_fails_is_reported_and_leaves_nothing_behind(install, source, said):
    """The others are declared, the worker starts."""
    install("acme_broken", source)
    install("beta_fine", kind="fine")
    app = application()
    broken, fine = app.load_plugins()

    assert ("failed", (), True) == (broken.state, broken.kinds, said in broken.reason)
    assert "on" == fine.state
    assert ["fine"] == [handler.kind for handler in app.registry]
    assert ([], {}) == (app.hooks.middleware, app.hooks.observers)


def test_the_applications_own_handler_goes_before_a_plug_ins(install):
    """Whoever installs a package does not lose what they wrote."""
    install("acme_mail")
    app = application()

    @app.job("mail")
    async def mine() -> None: ...

    (plugin,) = app.load_plugins()

    assert ((), ("mail",)) == (plugin.kinds, plugin.skipped)
    assert mine is app.registry.get("mail").function


def test_what_a_plug_in_says_of_encryption_goes_with_its_handler(install):
    """Not taken, not said: an own plain handler of that kind stays plain, an own encrypted one encrypted."""
    source = DECLARES.format(kind="mail", queue="mail").replace("queue=", "encrypt=True, queue=")
    install("acme_mail", source)
    install("broken", source + "    1 / 0\n")
    install("fine", source.replace("mail", "fine"))
    app = application()

    @app.job("mail")
    async def mine() -> None: ...

    @app.job("own", encrypt=True)
    async def own() -> None: ...

    app.load_plugins()

    assert {"own", "fine"} == app.privacy.sealing.anywhere


def test_a_kind_that_two_plug_ins_declare_is_refused_with_both_names(install):
    """Until one of them is switched off."""
    install("acme_mail")
    install("beta_mail")

    with pytest.raises(InvalidInput, match=r"'mail'.*'acme_mail' and 'beta_mail'.*TRUNKLINE_JOBTYPES_OFF=beta_mail"):
        application().load_plugins()
    app = application(TRUNKLINE_JOBTYPES_OFF="beta_mail")
    assert ["on", "off"] == [plugin.state for plugin in app.load_plugins()]


@pytest.mark.parametrize(
    "off, states, kinds",
    [
        ("acme_mail", ["off", "on"], ["fine"]),
        ("all", ["off", "off"], []),
        ("mail, other", ["on", "on"], ["fine"]),
        ("", ["on", "on"], ["fine", "mail"]),
    ],
    ids=["name", "all", "kind", "none"],
)
def test_they_are_switched_off_by_name_by_kind_or_all(install, off, states, kinds):
    """What is switched off is not even imported."""
    install("acme_mail")
    install("beta_fine", kind="fine")
    app = application(TRUNKLINE_JOBTYPES_OFF=off)

    assert states == [plugin.state for plugin in app.load_plugins()]
    assert kinds == sorted(handler.kind for handler in app.registry)
    assert ("acme_mail" in sys.modules) == (states[0] == "on")


def test_hooks_of_a_plug_in_count_for_the_application(install):
    """A package may bring middleware, too."""
    install("acme_hooks", "def register(app):\n    @app.middleware\n    async def note(job, proceed):\n        return await proceed()\n")
    app = application()
    app.load_plugins()

    assert ["note"] == [middleware.__name__ for middleware in app.hooks.middleware]


async def test_schedules_of_a_plug_in_go_with_their_handlers(install, trunkline_url):
    """One that failed, or whose kind is switched off, schedules nothing."""
    source = "\n".join(f"    {line}" for line in (
        "@app.schedule(every=60)", "@app.job(KIND)", "async def handler(): ...", "app.schedule(every=60, kind=KIND, name=KIND + '-2')(handler)",
    ))  # fmt: skip
    for module, kind, end in (("acme_fine", "fine", ""), ("acme_off", "off-kind", ""), ("acme_broken", "broken", "\n    1 / 0")):
        install(module, f"KIND = {kind!r}\ndef register(app):\n{source}{end}\n")
    async with application(trunkline_url, TRUNKLINE_JOBTYPES_OFF="off-kind") as app:
        app.load_plugins()
        await app.start_worker()

        assert ["fine", "fine-2"] == [schedule.name for schedule in await app.schedules.list()]


def test_the_command_lists_them(install, offline):
    """Built-in ones first, with what failed and why."""
    install("acme_mail")
    install("broken", "1 / 0")
    document = offline("jobtypes", "list", "--json").json["jobtypes"]
    text = offline("jobtypes", "list", TRUNKLINE_JOBTYPES_OFF="schema-rebuild,acme_mail")

    assert [("built-in", "on"), ("acme_mail", "on"), ("broken", "failed")] == [(each["name"], each["state"]) for each in document]
    assert {"schema-rebuild", "data-export", "bulk-import"} <= set(document[0]["kinds"])
    assert 0 == text.code and "ZeroDivisionError" in text.out and "schema-rebuild" not in text.out


@pytest.mark.parametrize("command", [("worker", "tasks:app"), ("up",)], ids=["worker", "up"])
async def test_worker_and_up_run_them_without_being_told(install, cli, start, tmp_path, command):
    """One that is broken is told in the log and stops nothing."""
    install("acme_mail")
    install("broken", "1 / 0")
    program = start(*command, "--json", PYTHONPATH=os.pathsep.join([str(tmp_path), str(ROOT / "src"), str(ROOT)]))
    program.until('"ready"')

    assert {"from": "acme_mail", "to": "x"} == (await cli("enqueue", "mail", '{"to": "x"}', "--wait")).json


async def test_two_that_clash_stop_a_worker_with_a_sentence(install, cli, tmp_path):
    """Not with a traceback, and not by taking one of them."""
    install("acme_mail")
    install("beta_mail")
    (tmp_path / "tasks_of_plugins.py").write_text("from trunkline import Trunkline\napp = Trunkline()\n")
    answer = await cli("worker", "tasks_of_plugins:app")

    assert 1 == answer.code and "declared by two plug-ins" in answer.err
