"""Runs the two commands of the README, verbatim, in the present folder: `python tests/readme.py`.

They are the lines of code that follow `<!-- readme: run -->` and `<!-- readme: test -->`. The first has to serve a page
and to end by SIGTERM with nothing to complain about.
"""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

#: Port 8080 is the README's.
PORT = 8080
#: How long the first command may take until it serves, and the server until it has ended, in seconds. The first
#: installs packages, for which pip may take its time.
SERVE_SECONDS, END_SECONDS = 600, 30


def command(name: str) -> str:
    """The line of code after that mark; a README without it is an error."""
    mark = re.escape(f"<!-- readme: {name} -->")
    (line,) = re.findall(rf"^{mark}\n```sh\n(.+)\n```$", Path("README.md").read_text("utf-8"), re.MULTILINE)
    return line


@contextlib.contextmanager
def running(line: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a line; what is left of it in the end is killed, and what it said is shown if something is wrong."""
    with log.open("wb") as output:
        process = subprocess.Popen(["bash", "-c", line], stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        yield process
    except BaseException:
        print("\n".join(log.read_text(errors="replace").splitlines()[-40:]), flush=True)
        raise
    finally:
        with contextlib.suppress(OSError, ValueError):
            os.kill(int(Path("twistd.pid").read_text()), signal.SIGKILL)
        process.kill()
        process.wait()


def answers(process: subprocess.Popen[bytes]) -> None:
    """Waits for the page, as long as the command runs."""
    url = f"http://localhost:{PORT}/"
    # Not by way of a proxy that the environment may name.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    end = time.monotonic() + SERVE_SECONDS
    while time.monotonic() < end:
        try:
            with opener.open(url, timeout=5) as answer:
                print(url, "answers", answer.status, answer.headers["Content-Type"], flush=True)
            return
        except urllib.error.HTTPError:
            raise
        except OSError:
            if process.poll() is not None:
                sys.exit("it has ended, and served nothing")
            time.sleep(0.2)
    sys.exit(f"nothing answers on {url}")


def serve(line: str) -> None:
    """Runs the first command until its page is there, and ends it."""
    print("---", line, flush=True)
    # A program that has the port could answer in the place of what is tested.
    try:
        socket.create_server(("", PORT)).close()
    except OSError:
        sys.exit(f"port {PORT} is taken")
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        with running(line, log) as process:
            answers(process)
            os.kill(int(Path("twistd.pid").read_text()), signal.SIGTERM)
            status = process.wait(END_SECONDS)
            print("after SIGTERM: exit status", status, flush=True)
            assert status in (0, 128 + signal.SIGTERM, -signal.SIGTERM)
            assert "Traceback" not in log.read_text(errors="replace")


def main() -> int:
    run, test = command("run"), command("test")
    serve(run)
    print("---", test, flush=True)
    return subprocess.run(["bash", "-c", test], stdin=subprocess.DEVNULL, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
