"""Results: kept in a file, printed as text, and written into a page between markers.

A file of results is a JSON object with a section for each command that measures ("table", "growth", "latency"):
`command`, `date`, `machine`, `rounds`, `versions` (of each server that was measured), `missing` (names that were not
installed), `failed` (in words, by "row, server"), and `rows`: each has `name`, `about`, `unit`, and a cell of
`measure.py` for each server.
"""

import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .load import BenchmarkError

Section = dict[str, Any]

#: How pages and charts call the servers.
LABELS = {
    "raw-twisted": "raw Twisted",
    "autobahn": "Autobahn",
    "websockets-uvloop": "websockets (uvloop)",
    "picows-uvloop": "picows (uvloop)",
    "aiohttp-uvloop": "aiohttp (uvloop)",
}


def label(server: str) -> str:
    return LABELS.get(server, server)


def machine() -> str:
    """Describes the machine."""
    model = platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.partition(": ")[2] for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0] if names else model
    return f"{len(os.sched_getaffinity(0))} CPUs of {model}, Linux {platform.release().partition('-')[0]}"


def number(value: float) -> str:
    """Three digits that count, as a table shows it."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


# Files


def read(path: Path) -> dict[str, Section]:
    result: dict[str, Section] = json.loads(path.read_text("utf-8"))
    return result


def keep(path: Path, command: str, section: Section) -> None:
    """Puts a section into a file, in the place of an earlier one."""
    earlier = read(path) if path.exists() else {}
    path.write_text(json.dumps({**earlier, command: section}, indent=1, ensure_ascii=False) + "\n", "utf-8")


# Tables


def columns(section: Section) -> list[str]:
    """The servers that have a figure in some row."""
    return [name for name in section["versions"] if any(name in row["cells"] for row in section["rows"])]


def make_table(section: Section) -> list[list[str]]:
    """The rows of a table, the first of which is its head."""
    servers = columns(section)
    rows = [["", *map(label, servers)]]
    for row in section["rows"]:
        cells = [number(row["cells"][name]["value"]) if name in row["cells"] else "-" for name in servers]
        rows.append([f"{row['name']}, {row['unit']}", *cells])
    return rows


def make_facts(section: Section) -> list[str]:
    """The facts below a table, a line each."""
    facts = [f"{section['date']}, {section['machine']}, the least of {rounds(section['rounds'])}."]
    facts += [f"{label(name)}: {section['versions'][name]}." for name in columns(section)]
    if section["missing"]:
        facts.append(f"Not installed: {', '.join(map(label, section['missing']))}.")
    facts += [f"Failed: {where}: {why}." for where, why in section["failed"].items()]
    spreads = [
        (cell["spread"], f"{row['name']}, {label(name)}")
        for row in section["rows"]
        for name, cell in row["cells"].items()
    ]
    if section["rounds"] > 1 and spreads:
        spread, where = max(spreads)
        facts.append(f"Largest spread, of the greatest round over the least: {spread:.2f} ({where}).")
    return facts


def make_faults(section: Section) -> list[list[str]]:
    """The page faults of each row that has some, as a table."""
    servers = columns(section)
    rows = [["page faults a message", *map(label, servers)]]
    for row in section["rows"]:
        faults = [row["cells"].get(name, {}).get("faults") for name in servers]
        if any(count is not None and count >= 1 for count in faults):
            rows.append([row["name"], *("-" if count is None else f"{count:,.0f}" for count in faults)])
    return rows if len(rows) > 1 else []


def rounds(count: int) -> str:
    return "one round" if count == 1 else f"{count} rounds"


def draw_text(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *rest in rows:
        cells = [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *cells]))
    return lines


def draw_markdown(rows: Sequence[Sequence[str]]) -> list[str]:
    marks = ["---", *["---:"] * (len(rows[0]) - 1)]
    return [f"| {' | '.join(row)} |" for row in (rows[0], marks, *rows[1:])]


def make_text(section: Section) -> str:
    parts = [draw_text(make_table(section)), draw_text(make_faults(section)), make_facts(section)]
    return "\n\n".join("\n".join(part) for part in [*parts, [f"$ {section['command']}"]] if part)


# Pages


def make_abouts(section: Section) -> list[str]:
    """The work of each row, as a list; rows that do the same share a line, and percentiles of a row their name."""
    names: dict[str, dict[str, None]] = {}
    for row in section["rows"]:
        names.setdefault(row["about"], {})[row["name"].partition(", ")[0]] = None
    return [f"- {'; '.join(rows)}: {about}" for about, rows in names.items()]


def make_part(section: Section) -> str:
    """A section's part of a page, in Markdown."""
    parts = [
        ["```console", f"$ {section['command']}", "```"],
        draw_markdown(make_table(section)),
        make_abouts(section),
        draw_markdown(faults) if (faults := make_faults(section)) else [],
        [f"- {fact}" for fact in make_facts(section)],
    ]
    return "\n\n".join("\n".join(part) for part in parts if part)


def markers(command: str) -> tuple[str, str]:
    return f"<!-- benchmarks: {command} -->\n", f"<!-- benchmarks: end of {command} -->\n"


def put(page: str, results: dict[str, Section]) -> str:
    """A page with the part of each section in the place of what is between its markers.

    Raises:
        BenchmarkError: the page lacks the markers of a section.
    """
    for command, section in results.items():
        begin, end = markers(command)
        before, found, rest = page.partition(begin)
        _, closed, behind = rest.partition(end)
        if not found or not closed:
            raise BenchmarkError(f"the page has no {begin.strip()} and {end.strip()}")
        page = f"{before}{begin}\n{make_part(section)}\n\n{end}{behind}"
    return page
