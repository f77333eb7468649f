"""Programs in benchmarks/programs/, each run for a moment: they measure nothing here, but work."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from test_examples import ENVIRONMENT, PATIENCE, ROOT, starting


def run(*command: object) -> str:
    """Runs a program; returns its standard output, where it ends well."""
    line = [sys.executable, *map(str, command)]
    done = subprocess.run(line, env=ENVIRONMENT, capture_output=True, text=True, timeout=4 * PATIENCE, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the system does not tell a process's memory")
def test_idle_connections() -> None:
    options = ["--connections", 60, "--seconds", 1, "--interval", 1, "--timeout", 60]
    said = run(ROOT / "benchmarks/programs/idle.py", *options)
    assert "; 60 connections, opened in " in said
    assert re.search(r"^memory: -?[0-9.]+ KiB a connection, ", said, re.MULTILINE)
    assert said.endswith("lost by the clients: 0\ndropped by the server: 0\n")


@pytest.mark.parametrize("kind", ["callbacks", "stream"])
def test_round_trips_of_a_client(kind: str) -> None:
    with starting() as start:
        port = start("echo_server.py", 0).url.rpartition(":")[2].strip("/")
        said = run(ROOT / "benchmarks/programs/echo_client.py", kind, port, 100, 50, 10)
    assert re.fullmatch(rf"wsock {kind} \(.*\) size 100 window 10: cpu [0-9.]+ us, wall [0-9.]+ us\n", said)
