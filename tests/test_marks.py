"""The marks by which runs of the suite choose tests, and the linters that two files name."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from growth import assertLinear
from tools import require

ROOT = Path(__file__).resolve().parents[1]


def test_a_program_of_others_needs_its_mark() -> None:
    with pytest.raises(pytest.fail.Exception, match=r"needs @pytest\.mark\.peer"):
        require("python3")


def test_measuring_growth_needs_its_mark() -> None:
    with pytest.raises(pytest.fail.Exception, match=r"needs @pytest\.mark\.growth"):
        assertLinear(lambda: 1, lambda: 16)


@pytest.mark.peer
@pytest.mark.growth
def test_with_their_marks_they_go_on() -> None:
    assert require("openssl")
    assertLinear(lambda: 1, lambda: 16)


def test_the_folder_marks_integration(request: pytest.FixtureRequest) -> None:
    for item in request.session.items:
        in_folder = item.path.is_relative_to(Path(__file__).parent / "integration")
        assert (item.get_closest_marker("integration") is not None) == in_folder, item.nodeid


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ([], "not run here: 1 tests marked 'growth'; `nox -s 'tests(left-out)'` runs them"),
        (["-m", "not clock"], None),
    ],
)
def test_the_end_names_what_was_left_out(options: list[str], line: str | None) -> None:
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *options, __file__]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert [one for one in done.stdout.splitlines() if one.startswith("not run here")] == ([line] if line else [])


def test_linters_are_of_one_version() -> None:
    """Those of .pre-commit-config.yaml are those that pyproject.toml names."""
    hooks = (ROOT / ".pre-commit-config.yaml").read_text("utf-8")
    named = set(re.findall(r'"(.+?)"', (ROOT / "pyproject.toml").read_text("utf-8")))
    wanted = [
        one for line in re.findall(r"additional_dependencies: \[(.+)\]", hooks) for one in re.findall(r'"(.+?)"', line)
    ]
    assert {re.split(r"\W", one)[0] for one in wanted} == {"import", "ruff", "towncrier"}
    assert set(wanted) <= named
