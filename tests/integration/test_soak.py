"""The soak of `nox -s soak`, for a moment: its clients get the right answers, and leave nothing behind."""

import subprocess
import sys
from pathlib import Path

import pytest
from integration.process import ENVIRONMENT

SECONDS = 5


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.timeout(300)
def test_a_short_soak() -> None:
    command = [sys.executable, str(Path(__file__).parents[1] / "soak.py"), str(SECONDS / 60)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.endswith("\nnothing is wrong\n")
    assert done.returncode == 0
    for kind in ("small", "compressed", "members", "refused", "wrong_frames"):
        assert done.stdout.count(f" {kind} ") == 2, "the clients of a kind by server"
