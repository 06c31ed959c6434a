"""What the documents say is true: commands, settings, SQLSTATEs and examples."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from trunkline.settings import Settings, variable
from trunkline.store.sqlstate import OURS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
pages = sorted([ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("docs/decisions/*.md"), ROOT / "CONTRIBUTING.md"])


@pytest.mark.parametrize("page", pages, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    """Relative links name files that exist."""
    targets = [t for t in re.findall(r"\]\(([^)#\s]+)\)", page.read_text("utf-8")) if "://" not in t]

    assert [] == [t for t in targets if not (page.parent / t).exists()]


def test_every_setting_is_on_the_operating_page():
    """A setting nobody can read of is a secret."""
    page = (ROOT / "docs/operating.md").read_text("utf-8")
    names = {variable(field).removeprefix("TRUNKLINE_") for field in Settings.model_fields} - {"ENV"}

    assert set() == {name for name in names if f"`{name}`" not in page and f"`{name}" not in page and f" `{name}`" not in page}


def test_every_sqlstate_is_on_the_sql_page():
    """People who speak SQL see codes, not classes."""
    page = (ROOT / "docs/sql.md").read_text("utf-8")

    assert set() == {code for code in OURS if code not in page}


def test_every_option_of_enqueue_is_on_the_sql_page():
    """The list in check_options is the list people read."""
    source = (ROOT / "src/trunkline/sql/functions/22_enqueue.sql").read_text("utf-8")
    rules = re.search(r"v_rules constant jsonb := '(\{[^']*\})'", source)
    page = (ROOT / "docs/sql.md").read_text("utf-8")

    assert rules is not None
    assert set() == {option for option in json.loads(rules[1]) if f"`{option}`" not in page}


def test_the_readme_program_is_the_quickstart_example():
    """One of them is run by the next test."""
    program = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    example = (ROOT / "examples/quickstart.py").read_text("utf-8")

    assert program is not None
    for block in ("await job.progress(50", 'job_id = await app.enqueue("resize", {"path": "a.png"})', "await app.start_worker()"):
        assert block in program[1] and block in example


@pytest.mark.parametrize(
    "example", sorted({*(ROOT / "examples").glob("*.py")} - {ROOT / "examples/remote_worker.py"}), ids=lambda path: path.stem
)
def test_examples_run(example, trunkline_url):
    """As a newcomer would run them, on a database that is migrated already."""
    done = subprocess.run(
        [sys.executable, str(example)],
        env={**os.environ, "TRUNKLINE_DATABASE_URL": trunkline_url},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert 0 == done.returncode, done.stderr
    assert done.stdout.strip()


def test_no_document_names_a_package_index():
    """Where packages come from is the reader's business."""
    words = re.compile(r"pypi\.org/(simple|packages)|pythonhosted|registry\.npmjs")
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()

    assert [] == [
        name
        for name in files
        if Path(name).suffix in {".md", ".toml", ".lock", ".json", ".txt", ".sh", ".yml"}
        and words.search((ROOT / name).read_text("utf-8", "replace"))
    ]


def test_every_call_event_and_code_is_on_the_protocol_page():
    """Whoever writes a client in another language has nothing else."""
    from trunkline.wire import CALLS
    from trunkline.wire.calls import JobOptions
    from trunkline.wire.pushes import TO_TENANT, TO_WORKERS

    page = (ROOT / "docs/protocol.md").read_text("utf-8")
    options = JobOptions.__struct_encode_fields__
    words = [*CALLS, *(push.event for push in (*TO_WORKERS, *TO_TENANT)), *options]

    assert [] == [word for word in words if f"`{word}`" not in page]


def test_every_route_and_code_is_on_the_rest_page():
    """Whoever reads the page reads all of it."""
    from trunkline import Trunkline
    from trunkline.rest import problems

    page = (ROOT / "docs/rest.md").read_text("utf-8")
    document = Trunkline("postgresql://nobody@localhost/nothing").asgi.openapi()
    routes = [f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods]
    source = "".join(path.read_text("utf-8") for path in (ROOT / "src/trunkline/rest").rglob("*.py"))
    codes = {*re.findall(r'Refused\(\s*\d{3}, "(\w+)"', source), *problems.STATUSES} - {
        "lease_lost",
        "invalid_setting",
        "wait_timeout",
        "error",
    }

    assert [] == [route for route in routes if f"`{route}`" not in page]
    assert set() == {code for code in codes if f"`{code}`" not in page}
