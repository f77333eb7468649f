"""The results of the Autobahn TestSuite that docs/conformance.md shows: counted from the suite's own, and kept true."""

import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[1]
#: The suite has folders of that name too, so it is no package.
_spec = importlib.util.spec_from_file_location("autobahn_figures", ROOT / "tests" / "autobahn" / "figures.py")
assert _spec is not None
assert _spec.loader is not None
figures = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(figures)

COMPILED = SimpleNamespace(implementation="compiled", deflateImplementation="isal")
INTERPRETED = SimpleNamespace(implementation="python", deflateImplementation="zlib")
#: As the suite writes it.
INDEX = """
{"wsock": {
  "10.1.1": {"behavior": "OK", "behaviorClose": "OK", "duration": 5, "remoteCloseCode": 1000},
  "7.1.6": {"behavior": "INFORMATIONAL", "behaviorClose": "INFORMATIONAL", "duration": 5, "remoteCloseCode": 1000},
  "7.1.5": {"behavior": "OK", "behaviorClose": "FAILED", "duration": 1002, "remoteCloseCode": null},
  "7.1.4": {"behavior": "OK", "behaviorClose": "OK", "duration": 2, "remoteCloseCode": 1000}
}}
"""


@pytest.fixture
def index(tmp_path: Path) -> Path:
    path = tmp_path / "index.json"
    path.write_text(INDEX)
    return path


def test_the_page_has_the_results_on_record() -> None:
    runs = json.loads(figures.RESULTS.read_text("utf-8"))
    _, tables, _ = figures.find_tables(figures.PAGE.read_text("utf-8"))
    assert tables.strip().splitlines() == figures.make_tables(runs), "run tests/autobahn/figures.py"


def test_all_runs_of_a_release_are_on_record() -> None:
    runs = json.loads(figures.RESULTS.read_text("utf-8"))
    found = [(*figures.kind(run), figures.add(run["groups"].values()).total()) for run in runs]
    assert found == [
        (role, *kind)
        for role in ("server", "client")
        for kind in (
            ("ws", "compiled", "isal", 517),
            ("ws", "interpreted", "zlib", 385),
            ("wss", "compiled", "isal", 385),
            ("wss", "interpreted", "zlib", 385),
            ("ws", "compiled", "zlib, with context takeover", 84),
        )
    ]


def test_cases_are_counted_by_group_and_verdict(index: Path) -> None:
    groups = figures.count(index)
    assert list(groups.items()) == [("7", {"INFORMATIONAL": 1, "OK": 1, "OK and FAILED": 1}), ("10", {"OK": 1})]


def test_a_run_takes_the_place_of_the_earlier_one_of_its_kind(index: Path, tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    figures.record(results, figures.describe("client", "ws", False, COMPILED), index)
    figures.record(results, figures.describe("client", "ws", True, COMPILED), index)
    figures.record(results, figures.describe("server", "ws", False, INTERPRETED), index)
    index.write_text('{"wsock": {"1.1.1": {"behavior": "OK", "behaviorClose": "OK"}}}')
    figures.record(results, figures.describe("client", "ws", False, COMPILED), index)
    runs = json.loads(results.read_text("utf-8"))
    assert [(run["role"], run["core"], run["deflate"], list(run["groups"])) for run in runs] == [
        ("server", "interpreted", "zlib", ["7", "10"]),
        ("client", "compiled", "isal", ["1"]),
        ("client", "compiled", "zlib, with context takeover", ["7", "10"]),
    ]


def test_tables() -> None:
    run = {"scheme": "ws", "core": "compiled", "deflate": "isal", "date": "2026-11-28"}
    runs = [
        {**run, "role": "server", "groups": {"1": {"OK": 16}, "7": {"INFORMATIONAL": 3, "OK": 34}}},
        {**run, "role": "client", "groups": {"1": {"OK": 16}}},
        {**run, "role": "client", "scheme": "wss", "groups": {"1": {"OK": 15, "OK and FAILED": 1}, "7": {"OK": 37}}},
    ]
    lines = figures.make_tables(runs)
    assert lines[2:6] == [
        "| server | `ws:` | compiled | isal | 53 | 50 OK, 3 informational | 2026-11-28 |",
        "| client | `ws:` | compiled | isal | 16 | 16 OK | 2026-11-28 |",
        "| client | `wss:` | compiled | isal | 53 | 52 OK, 1 OK and failed | 2026-11-28 |",
        "",
    ]
    assert lines[6] == "| group | cases about | server | client |"
    assert lines[8] == "| 1 | frames of every size | 16 OK | 15 OK, 1 OK and failed |"
    assert lines[14] == "| 7 | closing | 34 OK, 3 informational | 37 OK |"
    assert lines[18].endswith("| - | - |")
