#!/usr/bin/env python3
"""Runs the Autobahn TestSuite against `twistd wsock`, or against echo_server.py.

    against_server.py TWISTD [--tls] [--context-takeover] --wstest DIR/wstest ...

Options of its own apart, all goes to `run.py server`. It fails too where the server logs a traceback, or does not end
at a SIGTERM as it should.
"""

import argparse
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from run import free_port, make_certificate, wait_for

#: The time that SIGTERM may take, in seconds; the service promises 5.
PATIENCE = 10
#: The largest messages of the suite have 16 MiB (9.1.6 and 9.2.6).
OPTIONS = ["--compression", "--max-message-size=16777216"]


def describe_endpoint(port, tls, folder):
    if not tls:
        return f"tcp:{port}:interface=127.0.0.1"
    key, certificate = make_certificate(folder)
    return f"ssl:{port}:interface=127.0.0.1:privateKey={key}:certKey={certificate}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("twistd", type=Path)
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--context-takeover", action="store_true", help="which the service does not have")
    arguments, rest = parser.parse_known_args()
    with tempfile.TemporaryDirectory(prefix="autobahn-") as name:
        folder, port = Path(name), free_port()
        log = folder / "server.log"
        endpoint = describe_endpoint(port, arguments.tls, folder)
        command = [arguments.twistd.absolute(), "-n", "--pidfile=", "wsock", "--port", endpoint, *OPTIONS]
        if arguments.context_takeover:
            command = [sys.executable, Path(__file__).with_name("echo_server.py").absolute(), endpoint]
        with log.open("w") as output:
            server = subprocess.Popen(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        try:
            wait_for(port, server)
            url = f"{'wss' if arguments.tls else 'ws'}://127.0.0.1:{port}/echo"
            verdict = subprocess.run([sys.executable, Path(__file__).with_name("run.py"), "server", url, *rest])
            server.send_signal(signal.SIGTERM)
            status = server.wait(PATIENCE)
        finally:
            server.kill()
            server.wait()
            said = log.read_text(errors="replace")
            fault = said.find("Traceback") if "Traceback" in said else said.find("Unhandled")
            if fault != -1 or sys.exc_info()[0]:
                print(said[max(fault - 1000, 0) :][:4000])
    if status not in (0, -signal.SIGTERM):
        sys.exit(f"the server ended with {status}")
    sys.exit(verdict.returncode or int(fault != -1))


if __name__ == "__main__":
    main()
