"""The programs of others that tests talk to."""

import os
import shutil
from pathlib import Path

import pytest

#: Commands under the names that systems give them.
_COMMANDS = {"chromium": ["chromium", "chromium-browser", "google-chrome"]}


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
    """Like `find`; a test whose tool is missing is skipped, but fails under CI=true, where nothing may be missing."""
    path = find(name)
    if path is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{name} is missing", pytrace=False)
        pytest.skip(f"{name} is missing", allow_module_level=True)
    return path
