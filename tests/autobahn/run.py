#!/usr/bin/env python3
"""Runs the Autobahn TestSuite and judges it.

    run.py server URL --wstest DIR/wstest ...                       the suite's client against your echo server
    run.py client --wstest DIR/wstest [--tls] ... -- COMMAND ...    the suite's server; COMMAND is your client

A client's {url} and {ca} are replaced by the server's address and certificate. It calls {url}/getCaseCount (a text
message with the number), then {url}/runCase?case=N&agent=wsock for each N, echoing every message as it came, then
{url}/updateReports?agent=wsock.

Tiers: 1 = cases 1-7 and 10 (247, about 10 s); 2 = without the long compression sizes (385, about 1 min); 3 = all 517
(15-25 min); compression = those of tier 2 that are about it (84). wstest ends with 0 even when cases fail, so its
index.json is judged here: every case OK, for `behavior` and `behaviorClose`, but for the three that the suite itself
calls informational.
"""

import argparse
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path

INFORMATIONAL = {"7.1.6", "7.13.1", "7.13.2"}
GROUPS = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*"]
LONG = [f"{group}.*.{size}" for group in (12, 13) for size in (7, 8, 9, 10, 12, 13, 14, 15, 16, 17, 18)]
#: A tier's cases, what is left out of them, and how many there are.
TIERS = {
    "1": (GROUPS, [], 247),
    "2": (["*"], LONG, 385),
    "3": (["*"], [], 517),
    "compression": (["12.*", "13.*"], LONG, 84),
}


def judge(report, expected):
    """How many results are not as they should be; ``expected`` is the number of cases, None where it is unknown."""
    index = report / "index.json"
    agents = json.loads(index.read_text()) if index.exists() else {}
    if list(agents) != ["wsock"]:
        print(f"no result: agents {sorted(agents)} instead of wsock")
        return 1
    cases = agents["wsock"]
    bad = 0
    for field in ("behavior", "behaviorClose"):
        verdicts = defaultdict(list)
        for case, result in cases.items():
            informational = result[field] == "INFORMATIONAL" and case in INFORMATIONAL
            verdicts["as expected" if informational else result[field]].append(case)
        print(f"{field}: " + ", ".join(f"{len(names)} {verdict}" for verdict, names in sorted(verdicts.items())))
        for verdict, names in verdicts.items():
            if verdict not in ("OK", "as expected"):
                bad += len(names)
                names.sort(key=lambda case: [int(part) for part in case.split(".")])
                print(f"  {verdict}: {' '.join(names)}")
    if not cases or expected not in (None, len(cases)):
        bad += 1
        print(f"  {len(cases)} cases ran, not {expected or 'some'}")
    return bad


def make_certificate(folder):
    """Writes key.pem and cert.pem for localhost into ``folder``."""
    key, certificate = folder / "key.pem", folder / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run([*command, *names, "-keyout", key, "-out", certificate], check=True, stderr=subprocess.DEVNULL)
    return key, certificate


def free_port():
    """A port at which nothing listens, and that no system gives to who asks for any."""
    while True:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", random.randrange(10000, 30000)))
            except OSError:
                continue
            return probe.getsockname()[1]


def wait_for(port, process):
    """Waits until something listens on ``port``; an error if ``process``, which should, has ended."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit(f"nothing listens on port {port} (exit status {process.poll()})")


@contextmanager
def logged(folder):
    """The arguments that send the output of wstest to wstest.log."""
    # PYTHONPATH is for wsock's Python: wstest has a Python 2.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with (folder / "wstest.log").open("w") as log:
        yield {"cwd": folder, "env": environment, "stdout": log, "stderr": log, "stdin": subprocess.DEVNULL}


def test_server(url, wstest, spec, out, limit):
    spec["servers"] = [{"agent": "wsock", "url": url}]
    (out / "spec.json").write_text(json.dumps(spec))
    with logged(out) as output:
        client = [wstest, "-m", "fuzzingclient", "-s", out / "spec.json"]
        return subprocess.run(client, timeout=limit, **output).returncode


def test_client(command, wstest, spec, out, tls, limit):
    port = free_port()
    spec["url"] = f"{'wss' if tls else 'ws'}://127.0.0.1:{port}"
    ca = ""
    if tls:
        key, ca = make_certificate(out)
        spec["key"], spec["cert"] = str(key), str(ca)
    (out / "spec.json").write_text(json.dumps(spec))
    with logged(out) as output:
        server = subprocess.Popen([wstest, "-m", "fuzzingserver", "-s", out / "spec.json", "-u", "0"], **output)
    try:
        wait_for(port, server)
        words = [word.replace("{url}", spec["url"]).replace("{ca}", str(ca)) for word in command]
        return subprocess.run(words, timeout=limit).returncode
    finally:
        server.kill()
        server.wait()


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("side", choices=["server", "client"])
    parser.add_argument("url", nargs="?")
    parser.add_argument("--wstest", required=True)
    parser.add_argument("--tier", default="1", choices=TIERS)
    parser.add_argument("--cases", help="comma-separated patterns, such as 9.*, in place of a tier; any number may run")
    parser.add_argument("--out", help="where specification, log and report go; a temporary folder by default")
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--limit", type=float, default=5400, help="how long the cases may take, in seconds")
    own, command = split_at(sys.argv[1:], "--")
    arguments = parser.parse_args(own)
    if arguments.side == "server" and not arguments.url:
        parser.error("server needs a URL")
    if arguments.side == "client" and not command:
        parser.error("client needs -- COMMAND")
    return arguments, command


def split_at(words, separator):
    if separator not in words:
        return words, []
    position = words.index(separator)
    return words[:position], words[position + 1 :]


def main():
    arguments, command = parse_arguments()
    out = Path(arguments.out or tempfile.mkdtemp(prefix="wstest-")).resolve()
    out.mkdir(parents=True, exist_ok=True)
    report = out / "report"
    shutil.rmtree(report, ignore_errors=True)
    cases, excluded, expected = TIERS[arguments.tier]
    if arguments.cases:
        cases, excluded, expected = arguments.cases.split(","), [], None
    spec = {"outdir": str(report), "cases": cases, "exclude-cases": excluded, "exclude-agent-cases": {}}
    try:
        if arguments.side == "server":
            status = test_server(arguments.url, arguments.wstest, spec, out, arguments.limit)
        else:
            status = test_client(command, arguments.wstest, spec, out, arguments.tls, arguments.limit)
    except subprocess.TimeoutExpired:
        print(f"stopped after {arguments.limit:.0f} s")
        status = 124
    if status:
        print(f"exit status {status}")
    if judge(report, expected) or status:
        sys.exit(f"specification, log and report are in {out}")
    # Nobody looks into it any more, unless it was asked for.
    if not arguments.out:
        shutil.rmtree(out)


if __name__ == "__main__":
    main()
