"""Firefox, which opens a page: what becomes of it is for the page to tell."""

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from integration.process import trust_in
from tools import require

#: No page but ours, and no host but ours is asked for anything.
PREFERENCES = {
    "app.normandy.enabled": False,
    "app.update.enabled": False,
    "browser.aboutwelcome.enabled": False,
    "browser.region.update.enabled": False,
    "browser.safebrowsing.update.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.homepage_override.mstone": "ignore",
    "browser.startup.page": 0,
    "datareporting.policy.dataSubmissionEnabled": False,
    "extensions.update.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "network.proxy.type": 0,
    "services.settings.server": "http://127.0.0.1:1/",
    "toolkit.telemetry.reportingpolicy.firstRun": False,
}


@contextlib.contextmanager
def firefox(url: str, profile: Path, authority: Path | None = None, **preferences: str | bool | int) -> Iterator[None]:
    """Has Firefox show a page, from its start on, until the context is left.

    Args:
        url: the page's.
        profile: where it keeps what it keeps; removed in the end.
        authority: whose certificates it trusts beside its own.
        preferences: further ones, with ``_`` for a dot.
    """
    command = [require("firefox"), "--headless", "--no-remote", "--profile", str(profile), url]
    if authority is None:
        profile.mkdir()
    else:
        trust_in(profile, authority)
    wanted = {**PREFERENCES, **{name.replace("_", "."): value for name, value in preferences.items()}}
    lines = [f'user_pref("{name}", {_literal(value)});\n' for name, value in wanted.items()]
    (profile / "user.js").write_text("".join(lines))
    # A group of its own: Firefox is many processes. It wants a home, and to write there.
    with subprocess.Popen(
        command,
        env={**os.environ, "HOME": str(profile), "MOZ_CRASHREPORTER_DISABLE": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as browser:
        try:
            yield
        finally:
            os.killpg(browser.pid, signal.SIGKILL)
            browser.wait()
            shutil.rmtree(profile, ignore_errors=True)


def _literal(value: str | bool | int) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value).lower()
