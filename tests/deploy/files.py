"""What the files of `deploy/` say, as data: their settings, command lines, units, metrics."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
DOCKERFILE = DEPLOY / "Dockerfile"
UNITS = sorted(DEPLOY.glob("systemd/*.service"))
EVERY = sorted(path for path in DEPLOY.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
RULES = DEPLOY / "prometheus/trunkline.rules.yml"
DASHBOARD = json.loads((DEPLOY / "grafana/trunkline.json").read_text("utf-8"))


def read_yaml(name: str) -> Any:
    """A YAML file of `deploy/`, anchors and all."""
    return yaml.safe_load((DEPLOY / name).read_text("utf-8"))


def unit(path: Path) -> dict[str, list[str]]:
    """The assignments of a unit, by key, in order."""
    found: dict[str, list[str]] = {}
    for line in path.read_text("utf-8").splitlines():
        key, equals, value = line.partition("=")
        if equals and re.fullmatch(r"[A-Z][A-Za-z]+", key):
            found.setdefault(key, []).append(value)
    return found


def command_lines() -> dict[str, list[str]]:
    """Every call of `trunkline` in these files, by where it stands; shell words as they are."""
    found = {}
    for path in UNITS:
        (line,) = unit(path)["ExecStart"]
        said = dict(each.split("=", 1) for row in unit(path).get("Environment", []) for each in row.split())
        words = line.replace("${APPLICATION}", said.get("APPLICATION", "")).replace("$WORKER_OPTIONS", "").split()
        found[path.name] = words[1:]
    for name, service in read_yaml("compose.yaml")["services"].items():
        if service["image"] == "trunkline":
            found[f"compose.yaml {name}"] = service["command"]
    for n, each in enumerate(re.findall(r"args: (\[.*?\])", (DEPLOY / "ecosystem.config.cjs").read_text("utf-8"))):
        found[f"ecosystem.config.cjs {n}"] = json.loads(each)
    found["Dockerfile"] = json.loads(re.findall(r"^CMD (\[.*\])$", DOCKERFILE.read_text("utf-8"), re.MULTILINE)[0])
    return found


def expressions() -> Iterator[tuple[str, str]]:
    """(where, PromQL) of the rules and of the dashboard."""
    for group in yaml.safe_load(RULES.read_text("utf-8"))["groups"]:
        for rule in group["rules"]:
            yield rule.get("alert") or rule["record"], rule["expr"]
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], re.sub(r"label_values\((.*), \w+\)", r"\1", variable["query"]["query"])


def metrics() -> set[str]:
    """Every metric of ours that they name, histograms without their suffix."""
    names = {name for _, text in expressions() for name in re.findall(r"\btrunkline_\w+", text)}
    return {re.sub(r"^(trunkline_job_duration_seconds)_(bucket|sum|count)$", r"\1", name) for name in names}
