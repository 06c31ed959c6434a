"""How answers look."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console

from trunkline.cli import show

NOON = datetime(2027, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "said", "brief"),
    [
        (0.0401, "40 ms", "0 s"),
        (1.44, "1.4 s", "1 s"),
        (2.0, "2 s", "2 s"),
        (200, "3 min 20 s", "3 min"),
        (7500, "2 h 5 min", "2 h"),
        (7200, "2 h", "2 h"),
        (9.2 * 86400, "9 d 4 h", "9 d"),
    ],
)
def test_a_duration_has_at_most_two_units(seconds: float, said: str, brief: str):
    """People compare 3 min 20 s at a glance, not 200.0000 s."""
    assert (said, brief) == (show.span(seconds), show.span(seconds, brief=True))


@pytest.mark.parametrize(("off_s", "said"), [(-61, "1 min 1 s ago"), (0, "now"), (7200, "in 2 h")])
def test_a_time_is_told_from_now(off_s: float, said: str):
    """Past and future read differently."""
    assert said == show.ago(NOON + timedelta(seconds=off_s), NOON)
    assert "-" == show.ago(None)


def test_control_characters_are_shown_and_not_sent():
    """A job's error must not recolour, clear or reverse the reader's terminal."""
    assert r"\x1b[31mred\x07 \u202eabc" == show.visible("\x1b[31mred\x07 \u202eabc")
    assert "two\nlines\tand a tab" == show.visible("two\nlines\tand a tab")
    assert "one line…" == show.short("one\nline  and more", 9)


def test_markup_in_a_value_stays_text(capsys: pytest.CaptureFixture[str]):
    """[red] in a queue's name is a name."""
    show.say("[red]queue[/red] :smile:")

    assert "[red]queue[/red] :smile:\n" == capsys.readouterr().out


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("postgresql://me:s3cret@db/jobs", "postgresql://me:***@db/jobs"),
        ("postgresql://me@db/jobs?password=s3cret&x=1", "postgresql://me@db/jobs?password=***&x=1"),
        ("postgresql://me@db/jobs?sslpassword=s3cret", "postgresql://me@db/jobs?sslpassword=***"),
        ("postgresql://me@/jobs?host=/run", "postgresql://me@/jobs?host=/run"),
    ],
)
def test_a_url_is_shown_without_any_password(url: str, masked: str):
    """Wherever PostgreSQL accepts one."""
    assert masked == show.masked(url)


def test_only_the_column_that_may_be_cut_gives_way(monkeypatch: pytest.MonkeyPatch):
    """An id that was cut cannot be copied."""
    narrow = Console(file=io.StringIO(), width=30, force_terminal=True, color_system=None)
    monkeypatch.setattr(show, "console", lambda **_: narrow)
    narrow.print(show.table(("id", "error"), [["0123456789", "a long story about what happened"]], cut="error"))

    assert "0123456789  a long story abou…" == narrow.file.getvalue().splitlines()[-1].rstrip()  # type: ignore[attr-defined]


def test_a_terminal_too_narrow_for_a_row_shows_it_in_several_lines(monkeypatch: pytest.MonkeyPatch):
    """80 columns are what a terminal has: an id is whole there, a column does not disappear, and what is empty takes no line."""
    narrow = Console(file=io.StringIO(), width=40, force_terminal=True, color_system=None)
    monkeypatch.setattr(show, "console", lambda **_: narrow)
    rows = [
        ["01a207a6-4c24-7302-93cf-e1d80a7b35b9", "7", "a long story about everything that happened"],
        ["01a207a6-4a30-77e7-8548-6ebbace235bb", "12", ""],
    ]
    narrow.print(show.table(("id", "times", "error"), rows, right=("times",), cut="error"))

    assert [
        "id",
        "  times",
        "  error",
        "\u2500" * 40,
        "01a207a6-4c24-7302-93cf-e1d80a7b35b9",
        "      7",
        "  a long story about everything that ha\u2026",
        "01a207a6-4a30-77e7-8548-6ebbace235bb",
        "     12",
    ] == [line.rstrip() for line in narrow.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def test_a_command_is_named_as_it_can_be_called(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """In a fresh checkout nothing is on the PATH yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    said = []
    for called in (tmp_path / ".venv/bin/trunkline", Path("/opt/bin/trunkline"), Path("/x/__main__.py")):
        monkeypatch.setattr("sys.argv", [str(called)])
        said.append(show.program())
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "trunkline").touch(mode=0o755)

    assert [".venv/bin/trunkline", "/opt/bin/trunkline", "python -m trunkline.cli"] == said
    assert "trunkline" == show.program()


def test_counts_agree_with_their_noun():
    """1 jobs is a small lie each time."""
    assert ["0 jobs", "1 job", "2 processes"] == [show.count(0, "job"), show.count(1, "job"), show.count(2, "process", "processes")]
