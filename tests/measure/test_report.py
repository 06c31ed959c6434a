"""How a run is told."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from tests.measure.test_result import result
from trunkline.measure.report import Report, legend, table
from trunkline.measure.result import Floor, Target

MACHINE = {
    "postgres": "18.6",
    "python": "3.11.7",
    "loop": "uvloop",
    "cores": 2,
    "cpu": "a CPU",
    "durable": False,
    "date": "2026-01-01",
    "postgres_settings": {"shared_buffers": "512MB", "max_wal_size": "4GB"},
}


def shown(report: Report) -> str:
    """The table and its legend, as on a wide terminal."""
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(table(report._lines), legend(report._lines))
    return console.export_text()


def test_json_lines_are_all_there_is_on_stdout(capsys: pytest.CaptureFixture[str]):
    """Progress and reasons go to stderr, so a pipe can be parsed."""
    report = Report(as_json=True)
    report.say("drain (1 of 2)")
    report.add(result(), 0.25, MACHINE)
    report.failed("pickup", ValueError("no answer\nfor ten seconds"), MACHINE)
    report.end()
    captured = capsys.readouterr()

    lines = [json.loads(line) for line in captured.out.splitlines()]
    assert [("drain", True), ("pickup", False)] == [(line["measure"], line["verified"]) for line in lines]
    assert (0.25, MACHINE) == (lines[0]["others_cpu"], lines[0]["machine"])
    assert "no answer" == lines[1]["error"]
    assert "for ten seconds" in captured.err


def test_a_run_is_clean_only_if_everything_was_verified():
    """Nothing measured is not clean either."""
    empty, failed, good = Report(as_json=False), Report(as_json=False), Report(as_json=False)
    good.add(result(), None, MACHINE)
    failed.add(result(), None, MACHINE)
    failed.failed("pickup", ValueError("no"), MACHINE)

    assert [False, False, True] == [empty.is_clean, failed.is_clean, good.is_clean]


def test_the_table_shows_each_floor_and_explains_it_once():
    """And says aloud when commits were not durable."""
    report = Report(as_json=False)
    report.add(result(), None, MACHINE)
    report.add(result(measure="drain_two", targets=(Target("ratio", ">=", 9.0),)), None, MACHINE)
    text = shown(report)

    assert 1 == text.count("same_sql: the same SQL")
    assert "met: ratio >= 0.75" in text
    assert "MISSED: ratio >= 9" in text
    assert "1.00 (0.80..1.20)" in text
    assert "COMMITS ARE NOT DURABLE" in text


def test_a_failed_measure_has_a_row_with_its_reason():
    """The others are shown all the same."""
    report = Report(as_json=False)
    report.failed("pickup", ValueError("no answer"), MACHINE)
    report.add(result(floors={"idle": Floor.of("before", [2.0], [1.0])}), None, MACHINE)
    text = shown(report)

    assert "no answer" in text
    assert "idle 1" in text
