"""The benchmarks: each command at a small size, and their tables, their chart and the page as written from results."""

import argparse
import importlib.util
import json
import mmap
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tools import require

import wsock

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "benchmarks"
#: Only wsock is on the path beside the checkout, and the compiler is the system's, whatever wsock was built with.
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(wsock.__file__).parents[1]), "CC": "cc"}
#: How long a command may take at a small size, in seconds.
PATIENCE = 240

linux = pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="the benchmarks need Linux")


def _import() -> None:
    """Makes the package known, which is not on the path of modules: the sources of wsock are beside it."""
    location = FOLDER / "__init__.py"
    spec = importlib.util.spec_from_file_location("benchmarks", location, submodule_search_locations=[str(FOLDER)])
    assert spec is not None
    sys.modules["benchmarks"] = importlib.util.module_from_spec(spec)


_import()
from benchmarks import __main__ as program  # noqa: E402
from benchmarks import chart, load, measure, report, rows, servers  # noqa: E402

SECTION = {
    "command": "python -m benchmarks --peers",
    "date": "2026-11-28",
    "machine": "2 CPUs of Abacus, Linux 6.18",
    "rounds": 9,
    "versions": {"wsock": "wsock 1.0", "raw-twisted": "the same Twisted", "picows-uvloop": "picows 2.3.1"},
    "missing": ["autobahn"],
    "failed": {"tls-64": "no openssl"},
    "rows": [
        {
            "name": "echo-64",
            "about": "an echo",
            "unit": "µs a message",
            "cells": {
                "wsock": {"value": 12.34, "spread": 1.05, "faults": 0.0},
                "raw-twisted": {"value": 24.68, "spread": 1.4, "faults": 0.0},
            },
        },
        {
            "name": "echo-1M",
            "about": "an echo",
            "unit": "µs a message",
            "cells": {"wsock": {"value": 1234.5, "spread": 1.1, "faults": 1029.7}},
        },
    ],
}
PART = """\
```console
$ python -m benchmarks --peers
```

|  | wsock | raw Twisted |
| --- | ---: | ---: |
| echo-64, µs a message | 12.3 | 24.7 |
| echo-1M, µs a message | 1,234 | - |

- echo-64; echo-1M: an echo

| page faults a message | wsock | raw Twisted |
| --- | ---: | ---: |
| echo-1M | 1,030 | - |

- 2026-11-28, 2 CPUs of Abacus, Linux 6.18, the least of 9 rounds.
- wsock: wsock 1.0.
- raw Twisted: the same Twisted.
- Not installed: Autobahn.
- Failed: tls-64: no openssl.
- Largest spread, of the greatest round over the least: 1.40 (echo-64, raw Twisted)."""


def run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "benchmarks", *arguments]
    environment = {**ENVIRONMENT, **environment}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )


# Results


def test_page_and_chart_have_the_results_on_record(tmp_path: Path) -> None:
    page, drawing = tmp_path / "page.md", tmp_path / "chart.svg"
    text = (ROOT / "docs/performance.md").read_text("utf-8")
    page.write_text(text, "utf-8")
    results = FOLDER / "results.json"
    assert program.main(["--from", str(results), "--page", str(page), "--chart", str(drawing)]) == 0
    assert list(report.read(results)) == ["table", "growth", "latency"]
    assert page.read_text("utf-8") == text, "benchmarks/README.md has the command that writes it"
    assert drawing.read_text("utf-8") == (ROOT / "docs/performance.svg").read_text("utf-8"), "the same"


def test_pages_show_the_chart() -> None:
    assert "](docs/performance.svg)" in (ROOT / "README.md").read_text("utf-8")
    assert "](performance.svg)" in (ROOT / "docs/performance.md").read_text("utf-8")


def test_the_results_on_record_name_no_path() -> None:
    for section in report.read(FOLDER / "results.json").values():
        assert "/" not in section["command"]


def test_part_of_a_page() -> None:
    assert report.make_part(SECTION) == PART


def test_only_what_is_between_its_markers_changes() -> None:
    page = "# Title\n\n<!-- benchmarks: table -->\nold\n<!-- benchmarks: end of table -->\n\nText\n"
    new = f"# Title\n\n<!-- benchmarks: table -->\n\n{PART}\n\n<!-- benchmarks: end of table -->\n\nText\n"
    assert report.put(page, {"table": SECTION}) == new
    assert report.put(new, {"table": SECTION}) == new


@pytest.mark.parametrize("page", ["", "<!-- benchmarks: table -->\n", "<!-- benchmarks: end of table -->\n"])
def test_a_page_without_markers(page: str) -> None:
    with pytest.raises(load.BenchmarkError, match="the page has no <!-- benchmarks: table -->"):
        report.put(page, {"table": SECTION})


def test_text_of_a_table() -> None:
    lines = report.make_text(SECTION).splitlines()
    assert lines[:3] == [
        "                       wsock  raw Twisted",
        "echo-64, µs a message   12.3         24.7",
        "echo-1M, µs a message  1,234            -",
    ]
    assert lines[-1] == "$ python -m benchmarks --peers"


def test_a_section_replaces_its_own_alone(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    report.keep(path, "table", {"date": "2026-11-27"})
    report.keep(path, "growth", {"date": "2026-11-28"})
    report.keep(path, "table", {"date": "2026-11-29"})
    assert json.loads(path.read_text()) == {"table": {"date": "2026-11-29"}, "growth": {"date": "2026-11-28"}}


@pytest.mark.parametrize(
    ("value", "shown"), [(0.317, "0.32"), (9.99, "9.99"), (12.75, "12.8"), (99.96, "100.0"), (1234.5, "1,234")]
)
def test_numbers(value: float, shown: str) -> None:
    assert report.number(value) == shown


def test_the_least_of_the_rounds() -> None:
    assert measure.combine([(12.0, 3), (10.0, 5), (11.0, 4)]) == {"value": 10.0, "spread": 1.2, "faults": 3}


# The chart


def elements(drawing: str, name: str) -> list[ElementTree.Element]:
    return ElementTree.fromstring(drawing).findall(f"{{http://www.w3.org/2000/svg}}{name}")


def test_bars_are_as_long_as_their_figures() -> None:
    """The row of one server alone compares nothing, and has no panel."""
    bars = elements(chart.draw(SECTION), "rect")
    assert [bar.get("class") for bar in bars] == ["ours", "bar"]
    ours, other = (float(bar.get("width", "")) for bar in bars)
    assert other == pytest.approx(2 * ours)


def test_words_of_the_chart() -> None:
    texts = [text.text for text in elements(chart.draw(SECTION), "text")]
    assert texts[1:] == ["echo-64, µs a message", "wsock", "12.3", "raw Twisted", "24.7"]
    assert texts[0] is not None
    assert texts[0].startswith("Shorter is better. 2026-11-28, 2 CPUs of Abacus, Linux 6.18")


def test_the_chart_has_colours_for_a_dark_page() -> None:
    assert "@media (prefers-color-scheme: dark)" in chart.draw(SECTION)


def test_names_are_text_in_the_chart() -> None:
    assert "&lt;CPU&gt;" in chart.draw({**SECTION, "machine": "<CPU>"})


def test_the_chart_is_of_the_table(tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    results.write_text(json.dumps({"growth": SECTION}))
    with pytest.raises(load.BenchmarkError, match="the side-by-side table"):
        program.main(["--from", str(results), "--chart", str(tmp_path / "chart.svg")])


# Options


def options(*arguments: str) -> argparse.Namespace:
    return program.make_parser().parse_args(arguments)


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        ([], "python -m benchmarks"),
        (["--peers", "--json", "/tmp/x"], "python -m benchmarks --peers"),
        (["growth", "--peers=picows", "--rounds", "3"], "python -m benchmarks growth --peers=picows --rounds=3"),
        (
            ["--python", "/opt/a", "--peers-python", "/opt/b", "--scale", "0.5", "--only", "10 connections"],
            "python -m benchmarks --python=PYTHON --peers-python=PYTHON --only='10 connections' --scale=0.5",
        ),
    ],
)
def test_the_command_is_told_without_paths(arguments: list[str], command: str) -> None:
    assert program.name_command(options(*arguments)) == command


def test_peers_that_are_missing_are_told_apart() -> None:
    versions = {"picows": "picows 2.3.1", "autobahn": None}
    chosen = program.choose_servers(options("--peers=autobahn,picows"), versions)
    assert chosen == (["wsock", "raw-twisted", "picows"], ["autobahn"])
    assert program.choose_servers(options(), {}) == (["wsock", "raw-twisted"], [])


def test_a_peer_that_nobody_knows() -> None:
    with pytest.raises(load.BenchmarkError, match="--peers takes some of: autobahn, .*; not tornado"):
        program.choose_servers(options("--peers=tornado"), {})


def test_rows_are_chosen_by_name() -> None:
    assert [row.name for row in program.choose_rows(options("--only=idle,echo-64"))] == ["echo-64", "idle"]
    with pytest.raises(load.BenchmarkError, match="--only takes some of: echo-64, "):
        program.choose_rows(options("--only=echo-65"))


def test_peers_without_names_are_the_five_of_the_readme() -> None:
    assert options("--peers").peers.split(",") == [
        "autobahn", "twisted.web", "websockets-uvloop", "picows-uvloop", "aiohttp-uvloop",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("row", "name", "runs"),
    [
        ("echo-64", "raw-twisted", True),
        ("handshake", "raw-twisted", False),
        ("broadcast-1000", "raw-twisted", False),
        ("broadcast-1000", "autobahn", True),
        ("burst-64", "raw-twisted", True),
        ("burst-64", "autobahn", False),
        ("idle", "raw-twisted", False),
    ],
)
def test_rows_that_a_server_can_run(row: str, name: str, runs: bool) -> None:
    (found,) = (one for one in rows.TABLE if one.name == row)
    assert found.runs_on(name) is runs


# The load, and the processes


@linux
def test_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(CC="/nonexistent/cc --fast")
    assert result.returncode == 1
    assert result.stderr == (
        "the load generator needs a C compiler, and '/nonexistent/cc' is not on PATH (or set CC)\n"
    )


@linux
def test_the_use_of_this_process() -> None:
    before = servers.use(os.getpid())
    with mmap.mmap(-1, 2**24) as block:
        block.write(bytes(len(block)))
        after = servers.use(os.getpid())
        assert after.resident >= before.resident + len(block) // 2
        assert after.faults > before.faults
    while servers.use(os.getpid()).cpu <= before.cpu:
        assert sum(number % 7 for number in range(100_000))


def figures(result: "subprocess.CompletedProcess[str]", path: Path, command: str) -> dict[str, dict[str, float]]:
    """The value of each cell that a run has kept, by the names of its row and its server."""
    assert result.returncode == 0, result.stdout + result.stderr
    section = json.loads(path.read_text("utf-8"))[command]
    assert section["failed"] == {}, result.stdout
    return {row["name"]: {name: cell["value"] for name, cell in row["cells"].items()} for row in section["rows"]}


@linux
@pytest.mark.peer
@pytest.mark.slow
def test_the_table(tmp_path: Path) -> None:
    """All rows; a peer that is there, one that is not, and TLS where it can be had."""
    require("cc")
    require("openssl")
    path = tmp_path / "results.json"
    peers = "--peers=websockets,picows" if importlib.util.find_spec("picows") is None else "--peers=websockets"
    result = run(peers, "--rounds=1", "--scale=0.003", "--json", str(path), "--chart", str(tmp_path / "chart.svg"))
    found = figures(result, path, "table")
    assert list(found) == [row.name for row in rows.TABLE]
    for row in rows.TABLE:
        wanted = [name for name in ("wsock", "raw-twisted", "websockets") if row.runs_on(name)]
        assert sorted(found[row.name]) == sorted(wanted)
    assert all(value > 0 for row in found.values() for value in row.values())
    if "picows" in peers:
        assert f"\npicows: not installed in {sys.executable}\n" in result.stdout
    assert f"\nwsock: wsock {wsock.__version__} (" in result.stdout
    assert elements((tmp_path / "chart.svg").read_text("utf-8"), "rect")


@linux
@pytest.mark.peer
@pytest.mark.slow
def test_growth(tmp_path: Path) -> None:
    require("cc")
    path = tmp_path / "results.json"
    only = ["10 connections", "16 bytes", "16 MiB", "broadcast to 10"]
    result = run("growth", "--rounds=1", "--scale=0.01", "--only", ",".join(only), "--json", str(path))
    assert list(figures(result, path, "growth")) == only


@linux
@pytest.mark.peer
@pytest.mark.slow
def test_latency(tmp_path: Path) -> None:
    require("cc")
    path = tmp_path / "results.json"
    found = figures(run("latency", "--rounds=1", "--scale=0.01", "--json", str(path)), path, "latency")
    parts = ("p50", "p90", "p99", "p99.9", "delay", "rate")
    assert list(found) == [f"{name}, {part}" for name in ("half load", "beside a site") for part in parts]
    for name in ("half load", "beside a site"):
        percentiles = [found[f"{name}, {part}"]["wsock"] for part in parts[:4]]
        assert percentiles == sorted(percentiles)


# Programs that run by themselves


@pytest.fixture
def codec() -> Any:
    spec = importlib.util.spec_from_file_location("benchmarks_codec", FOLDER / "programs/codec.py")
    assert spec is not None
    assert spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_cases_of_the_codec(codec: Any) -> None:
    """Each does its work, again and again."""
    cases = codec.make_cases()
    assert len(cases) == 25
    for name, case in cases.items():
        first, second = case(), case()
        if "receives" in name:
            (event,) = second
            assert len(event.text) in codec.SIZES.values()
        elif "sends" in name:
            assert len(first) == len(second) > 0
        else:
            assert second.startswith(b"HTTP/1.1 101 ")
            assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in second


@pytest.mark.slow
def test_the_codec_by_pyperf() -> None:
    result = run("codec", "--debug-single-value", "--quiet", "--only", "server sends 64 B")
    assert result.returncode == 0, result.stderr
    assert [line.partition(":")[0] for line in result.stdout.splitlines() if ":" in line] == [
        "server sends 64 B",
        "server sends 64 B, compressed",
    ]


def test_the_codec_without_pyperf(tmp_path: Path) -> None:
    (tmp_path / "pyperf.py").write_text("raise ImportError\n")
    result = run("codec", PYTHONPATH=f"{tmp_path}{os.pathsep}{ENVIRONMENT['PYTHONPATH']}")
    assert (result.returncode, result.stderr) == (1, "pyperf is missing: pip install 'wsock[bench]'\n")
