"""The benchmarks of wsock, from the top of a checkout. README.md in this folder tells how they measure.

    python -m benchmarks              what a message costs the server, row by row, beside raw Twisted
    python -m benchmarks growth       how that grows with connections, message size and receivers
    python -m benchmarks latency      percentiles at half load, with a busy web site on the same reactor
    python -m benchmarks codec        the protocol alone, in process, by pyperf (extra `bench`)
    python -m benchmarks compression  the gain and the cost of permessage-deflate
    python -m benchmarks idle         memory and CPU of 10,000 idle connections
    python -m benchmarks client       the cost of a client's round trip, against any echo server

The first three take the options below. The others are programs, and take options of their own: --help tells them.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from . import chart, latency, report
from .load import BenchmarkError, build
from .measure import measure
from .rows import GROWTH, TABLE, Row
from .servers import OURS, PEERS, PROGRAMS, RAW, Servers, prepare

ROWS = {"table": TABLE, "growth": GROWTH, "latency": latency.ROWS}
#: Those of `--peers` without names.
DEFAULT_PEERS = ",".join(PEERS[:5])
#: Commands that are programs by themselves.
ALONE = {"codec": "codec.py", "compression": "deflate.py", "idle": "idle.py", "client": "echo_client.py"}


def run_alone(program: str, arguments: Sequence[str]) -> int:
    """Runs a program by its path: with `-m`, Python would take the sources of a checkout for the package."""
    return subprocess.run([sys.executable, str(PROGRAMS / program), *arguments], check=False).returncode


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", nargs="?", default="table", choices=ROWS)
    parser.add_argument(
        "--peers", nargs="?", const=DEFAULT_PEERS, default="", metavar="NAMES",
        help=f"measure other libraries too, where installed; of {', '.join(PEERS)}; by default the first five",
    )  # fmt: skip
    parser.add_argument("--python", default=sys.executable, help="an interpreter that has wsock; by default this one")
    parser.add_argument("--peers-python", metavar="PYTHON", help="an interpreter that has the peers")
    parser.add_argument("--only", metavar="ROWS", help="only these rows, with commas between them")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--scale", type=float, default=1.0, help="a factor of how many messages are sent")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the results in this file")
    parser.add_argument("--from", type=Path, metavar="FILE", dest="stored", help="measure nothing, take these results")
    parser.add_argument("--page", type=Path, metavar="FILE", help="put the results into this page, between its markers")
    parser.add_argument("--chart", type=Path, metavar="FILE", help="draw the table's results as SVG")
    return parser


def name_command(options: argparse.Namespace) -> str:
    """The command, as somebody else would enter it: without paths of this machine."""
    words = ["python -m benchmarks", *([options.command] if options.command != "table" else [])]
    words += (
        ["--peers" if options.peers == ",".join(PEERS[:5]) else f"--peers={options.peers}"] if options.peers else []
    )
    words += ["--python=PYTHON"] if options.python != sys.executable else []
    words += ["--peers-python=PYTHON"] if options.peers_python else []
    words += [f"--only={options.only!r}"] if options.only else []
    words += [f"--rounds={options.rounds}"] if options.rounds != 9 else []
    words += [f"--scale={options.scale:g}"] if options.scale != 1 else []
    return " ".join(words)


def choose_rows(options: argparse.Namespace) -> Sequence[Row]:
    rows = ROWS[options.command]
    if options.only is None:
        return rows
    wanted = options.only.split(",")
    found = [row for row in rows if row.name in wanted]
    if len(found) != len(wanted):
        raise BenchmarkError(f"--only takes some of: {', '.join(row.name for row in rows)}")
    return found


def choose_servers(options: argparse.Namespace, versions: dict[str, str | None]) -> tuple[list[str], list[str]]:
    """The servers to measure, and those that are missing."""
    names = options.peers.split(",") if options.peers else []
    unknown = [name for name in names if name not in PEERS]
    if unknown:
        raise BenchmarkError(f"--peers takes some of: {', '.join(PEERS)}; not {', '.join(unknown)}")
    return [OURS, RAW, *(name for name in names if versions[name])], [name for name in names if not versions[name]]


def run(options: argparse.Namespace, servers: Servers) -> report.Section:
    rows = choose_rows(options)
    versions = servers.versions()
    names, missing = choose_servers(options, versions)
    section: report.Section = {
        "command": name_command(options),
        "date": datetime.now(timezone.utc).date().isoformat(),
        "machine": report.machine(),
        "rounds": options.rounds,
        "versions": {name: versions[name] for name in names},
        "missing": missing,
        "failed": {},
        "rows": [],
    }
    print(f"$ {section['command']}\n{section['date']}, {section['machine']}")
    for name in names:
        print(f"{name}: {versions[name]}")
    for name in missing:
        print(f"{name}: not installed in {options.peers_python or options.python}")
    with_tls = can_do_tls(servers)
    for row in rows:
        if row.tls and with_tls is not None:
            print(f"\n{row.name}: left out, {with_tls}")
            section["failed"][row.name] = with_tls
            continue
        measuring = latency.measure if row.mode == "latency" else measure
        measured, failures = measuring(row, servers, names, options.rounds, options.scale, say)
        section["rows"] += measured
        section["failed"].update({f"{row.name}, {name}": why for name, why in failures.items()})
    print(f"\n{report.make_text(section)}")
    return section


def can_do_tls(servers: Servers) -> str | None:
    """None, or why the rows over TLS can't be measured."""
    try:
        build(tls=True)
        servers.certificate()
    except BenchmarkError as error:
        return str(error).partition("\n")[0]
    return None


def say(line: str) -> None:
    print(line, flush=True)


def write(options: argparse.Namespace, results: dict[str, report.Section]) -> None:
    if options.page:
        options.page.write_text(report.put(options.page.read_text("utf-8"), results), "utf-8")
    if options.chart and "table" not in results:
        raise BenchmarkError("the chart is of the results of `python -m benchmarks`, the side-by-side table")
    if options.chart:
        options.chart.write_text(chart.draw(results["table"]), "utf-8")


def main(arguments: Sequence[str]) -> int:
    if arguments and arguments[0] in ALONE:
        return run_alone(ALONE[arguments[0]], arguments[1:])
    options = make_parser().parse_args(arguments)
    if options.stored:
        results = report.read(options.stored)
        for section in results.values():
            print(f"{report.make_text(section)}\n")
        write(options, results)
        return 0
    if not Path("/proc/self/schedstat").exists():
        raise BenchmarkError("this system does not tell the CPU time of a process: the benchmarks need Linux")
    import resource

    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    build()
    with prepare(os.path.abspath(options.python), os.path.abspath(options.peers_python or options.python)) as servers:
        section = run(options, servers)
    if options.json:
        report.keep(options.json, options.command, section)
    write(options, {options.command: section})
    return int(any(where.endswith(f", {OURS}") for where in section["failed"]))


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except BenchmarkError as problem:
        sys.exit(str(problem))
