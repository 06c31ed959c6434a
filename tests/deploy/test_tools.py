"""The same files before the eyes of the programs that will read them, where these are installed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.deploy.files import DEPLOY, DOCKERFILE, RULES, UNITS, expressions

MOST_EXPOSED = 2.0  # systemd's own scale, 0 to 10; below 2 it says OK


def _need(program: str) -> str:
    found = shutil.which(program)
    return found or pytest.skip(f"{program} is not installed here")


def _run(*words: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run([str(word) for word in words], cwd=cwd, capture_output=True, text=True, timeout=60)
    assert 0 == done.returncode, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The units with paths that exist here, and an instance of the template."""
    folder, program = tmp_path_factory.mktemp("units"), shutil.which("true")
    made = []
    for path in UNITS:
        text = re.sub(r"/opt/trunkline/venv/bin/trunkline", str(program), path.read_text("utf-8"))
        made.append(folder / path.name.replace("@.", "@one."))
        made[-1].write_text(text)
    return made


def test_systemd_reads_the_units_without_a_word(units):
    """An unknown key or a value it cannot read is a warning, and then without effect."""
    _need("systemd-analyze")

    assert "" == _run("systemd-analyze", "verify", *units)


def test_systemd_finds_the_services_well_locked_up(units):
    """Its own score of what a broken-into process could still do."""
    _need("systemd-analyze")
    scores = [
        re.findall(r"exposure level for \S+: ([\d.]+)", _run("systemd-analyze", "security", "--offline=yes", "--no-pager", unit))
        for unit in units
    ]

    assert [1] * len(units) == [len(each) for each in scores]
    assert [] == [score for (score,) in scores if float(score) > MOST_EXPOSED]


def test_the_alerts_fire_when_they_should_and_only_then():
    """On made-up series, an alert at a time; and a healthy installation is silent."""
    promtool = _need("promtool")

    assert "SUCCESS" in _run(promtool, "test", "rules", "trunkline.rules.test.yml", cwd=RULES.parent)


def test_prometheus_reads_the_rules_its_configuration_and_every_panel(tmp_path: Path):
    """The queries of the dashboard are checked as rules, their variables filled in."""
    promtool = _need("promtool")
    rows = [re.sub(r"\$__rate_interval", "1m", text).replace('"$', '"x') for _, text in expressions()]
    panels = tmp_path / "panels.yml"
    panels.write_text(
        yaml.safe_dump({"groups": [{"name": "panels", "rules": [{"record": f"panel:{n}", "expr": row} for n, row in enumerate(rows)]}]})
    )

    assert f"SUCCESS: {len(rows)} rules found" in _run(promtool, "check", "rules", panels)
    assert "SUCCESS" in _run(promtool, "check", "rules", RULES)
    assert "SUCCESS" in _run(promtool, "check", "config", "--syntax-only", DEPLOY / "prometheus/prometheus.yml")


def test_hadolint_has_nothing_to_say():
    """About the Dockerfile."""
    hadolint = _need("hadolint")

    assert "" == _run(hadolint, DOCKERFILE)


def test_node_reads_the_pm2_file():
    """It is a program, and this is what pm2 gets from it."""
    node = _need("node")
    apps = json.loads(_run(node, "-e", f"console.log(JSON.stringify(require({json.dumps(str(DEPLOY / 'ecosystem.config.cjs'))}).apps))"))

    assert [("trunkline-serve", "none", "fork", False), ("trunkline-worker", "none", "fork", False)] == [
        (each["name"], each["interpreter"], each["exec_mode"], each["treekill"]) for each in apps
    ]
