#!/usr/bin/env python3
"""Writes the results of the Autobahn TestSuite, as results.json beside this file has them, into docs/conformance.md.

    figures.py

results.json is a list of runs: role, scheme, core, library that compresses, date, and for each group of cases how many
had which verdict. `both_roles.py --record` puts a run into it, in the place of an earlier one of the same kind.
"""

import json
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path

RESULTS = Path(__file__).resolve().with_name("results.json")
PAGE = RESULTS.parents[2] / "docs" / "conformance.md"
#: The tables stand between these lines of the page.
BEGIN, END = "<!-- autobahn: results -->\n", "<!-- autobahn: end -->\n"
#: Context takeover is by zlib, whatever else is installed.
CONTEXT_TAKEOVER = "zlib, with context takeover"
#: The suite's groups; 8 and 11 have no cases.
GROUPS = {
    "1": "frames of every size",
    "2": "Pings and Pongs",
    "3": "reserved bits",
    "4": "opcodes",
    "5": "fragmentation",
    "6": "UTF-8",
    "7": "closing",
    "9": "messages of up to 16 MiB, and of up to 65,536 fragments",
    "10": "a message in fragments of the sender's choice",
    "12": "compression of messages of 16 bytes to 128 KiB: JSON, a picture, prose, HTML, a PDF file",
    "13": "the parameters of compression, in offers and answers, alone and in several combinations",
}


def count(index):
    """How many cases of each group had which verdict; a case whose end was judged otherwise has both."""
    groups = {}
    for case, result in json.loads(index.read_text("utf-8"))["wsock"].items():
        verdict = " and ".join(dict.fromkeys([result["behavior"], result["behaviorClose"]]))
        groups.setdefault(case.split(".")[0], Counter())[verdict] += 1
    return {group: dict(sorted(groups[group].items())) for group in sorted(groups, key=int)}


def describe(role, scheme, context_takeover, wsock):
    """Describes a run, without its results."""
    return {
        "role": role,
        "scheme": scheme,
        "core": {"compiled": "compiled", "python": "interpreted"}[wsock.implementation],
        "deflate": CONTEXT_TAKEOVER if context_takeover else wsock.deflateImplementation,
        "date": datetime.now(timezone.utc).date().isoformat(),
    }


def record(path, run, index):
    """Puts a run of the suite into the file of results."""
    run = {**run, "groups": count(index)}
    runs = {kind(earlier): earlier for earlier in json.loads(path.read_text("utf-8"))} if path.exists() else {}
    runs[kind(run)] = run
    order = sorted(runs, key=lambda key: (key[0] != "server", key[3] == CONTEXT_TAKEOVER, key[1] != "ws", key[2]))
    path.write_text(json.dumps([runs[key] for key in order], indent=1) + "\n", "utf-8")


def kind(run):
    return run["role"], run["scheme"], run["core"], run["deflate"]


def make_tables(runs):
    """The tables of the page, as lines: a row for each run; and one for each group, from the runs with most cases."""
    rows = [["wsock as", "over", "core", "compression by", "cases", "results", "date"]]
    for run in runs:
        total = add(run["groups"].values())
        cells = [run["role"], f"`{run['scheme']}:`", run["core"], run["deflate"], str(total.total()), name(total)]
        rows.append([*cells, run["date"]])
    largest = {}
    for run in runs:
        role = run["role"]
        if role not in largest or add(largest[role].values()).total() < add(run["groups"].values()).total():
            largest[role] = run["groups"]
    by_group = [["group", "cases about", *largest]]
    for group, about in GROUPS.items():
        by_group.append([group, about, *(name(groups.get(group, {})) for groups in largest.values())])
    return [*draw(rows), "", *draw(by_group)]


def add(counts):
    """The sum of several counts of verdicts."""
    return sum(map(Counter, counts), Counter())


def name(verdicts):
    """Names how many cases had which verdict, those of the most cases first."""
    words = [f"{number} {verdict.lower().replace('ok', 'OK')}" for verdict, number in Counter(verdicts).most_common()]
    return ", ".join(words) or "-"


def draw(rows):
    """The lines of a table; its first row is its head."""
    rows = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return [f"| {' | '.join(row)} |" for row in rows]


def find_tables(page):
    """Cuts a page into what stands before the tables, the tables, and what stands behind."""
    before, found, rest = page.partition(BEGIN)
    tables, closed, behind = rest.partition(END)
    if not found or not closed:
        raise SystemExit(f"no {BEGIN.strip()} and {END.strip()}")
    return before + BEGIN, tables, END + behind


def main():
    before, _, behind = find_tables(PAGE.read_text("utf-8"))
    tables = make_tables(json.loads(RESULTS.read_text("utf-8")))
    PAGE.write_text("\n".join([before, *tables, "", behind]), "utf-8")


if __name__ == "__main__":
    main()
