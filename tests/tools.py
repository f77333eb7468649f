"""The marks that tests need, and the programs of others that tests talk to."""

import os
import random
import shutil
import socket
from pathlib import Path

import pytest

#: Commands under the names that systems give them; not everybody has /usr/sbin among the folders of commands.
_COMMANDS = {
    "chromium": ["chromium", "chromium-browser", "google-chrome"],
    "firefox": ["firefox-esr", "firefox"],
    "haproxy": ["haproxy", "/usr/sbin/haproxy"],
    "logrotate": ["logrotate", "/usr/sbin/logrotate"],
    "nginx": ["nginx", "/usr/sbin/nginx"],
    "squid": ["squid", "/usr/sbin/squid"],
    "tor": ["tor", "/usr/sbin/tor"],
}

#: The marks of the test that runs now.
marks: set[str] = set()


def need(mark: str) -> None:
    """Fails a test that lacks a mark: a run that chooses tests by their marks would not find it."""
    if mark not in marks:
        pytest.fail(f"this test needs @pytest.mark.{mark}: pyproject.toml says what it means", pytrace=False)


def find(name: str) -> str | None:
    """The path of a tool, None where it is missing.

    Args:
        name: a command; "npm:NAME" for a package in the folder that WSOCK_NODE_MODULES names; "wstest" for the
            Autobahn TestSuite, which WSOCK_WSTEST names.
    """
    if name.startswith("npm:"):
        package = Path(os.environ.get("WSOCK_NODE_MODULES", "node_modules"), name.removeprefix("npm:"))
        return str(package.resolve()) if package.is_dir() else None
    if name == "wstest" and "WSOCK_WSTEST" in os.environ:
        return shutil.which(os.environ["WSOCK_WSTEST"])
    return next(filter(None, map(shutil.which, _COMMANDS.get(name, [name]))), None)


def require(name: str) -> str:
    """Like `find`, for tests marked "peer".

    A test whose tool is missing is skipped, but fails under CI=true, where nothing may be missing.
    """
    need("peer")
    path = find(name)
    if path is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{name} is missing", pytrace=False)
        pytest.skip(f"{name} is missing")
    return path


def free_port() -> int:
    """A port of this machine at which nothing listens.

    It is none of those that systems give to who asks for any: another suite beside this one may be given hundreds.
    """
    while True:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", random.randrange(10000, 30000)))
            except OSError:
                continue
            return int(probe.getsockname()[1])
