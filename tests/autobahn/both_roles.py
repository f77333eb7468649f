#!/usr/bin/env python3
"""Runs the Autobahn TestSuite against both roles of wsock side by side: server and client.

    both_roles.py [--tls] [--context-takeover] [--out DIR] [--record FILE] --wstest DIR/wstest [--tier N] ...

All other options go to `run.py`, once for each role. The wsock that is tested is that of the Python that runs this.
`--record` keeps the results of both in a file, for figures.py, where all is well.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import figures

import wsock

HERE = Path(__file__).resolve().parent


def find_commands(context, options, out):
    """The command for each role; `context` asks for context takeover."""
    twistd = Path(sys.executable).with_name("twistd")
    client = [sys.executable, HERE / "echo_client.py", *context, "{url}", "{ca}"]
    return {
        "server": [sys.executable, HERE / "against_server.py", twistd, *context, *options, "--out", out / "server"],
        "client": [sys.executable, HERE / "run.py", "client", *options, "--out", out / "client", "--", *client],
    }


def run(commands, out):
    """Runs the commands at the same time, and prints the output of each; returns whether all were successful."""
    processes = {}
    for role, command in commands.items():
        with (out / f"{role}.log").open("w") as log:
            processes[role] = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    for role, process in processes.items():
        process.wait()
        print(f"--- {role}: exit status {process.returncode}")
        print((out / f"{role}.log").read_text(errors="replace"), flush=True)
    return not any(process.returncode for process in processes.values())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--context-takeover", action="store_true")
    parser.add_argument("--out", type=Path, help="a folder for what run.py keeps; a temporary one by default")
    parser.add_argument("--record", type=Path)
    arguments, rest = parser.parse_known_args()
    out = (arguments.out or Path(tempfile.mkdtemp(prefix="autobahn-"))).resolve()
    out.mkdir(parents=True, exist_ok=True)
    context = ["--context-takeover"] if arguments.context_takeover else []
    commands = find_commands(context, [*(["--tls"] if arguments.tls else []), *rest], out)
    good = run(commands, out)
    # A bad run is looked into, and not recorded.
    if good and arguments.record:
        for role in commands:
            described = figures.describe(role, "wss" if arguments.tls else "ws", arguments.context_takeover, wsock)
            figures.record(arguments.record, described, out / role / "report" / "index.json")
    if not good:
        sys.exit(f"specifications, logs and reports are in {out}")
    if not arguments.out:
        shutil.rmtree(out)


if __name__ == "__main__":
    main()
