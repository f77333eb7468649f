import platform
import subprocess
import sys
from pathlib import Path

import pytest

import wsock

PROGRAM = """
import sys
sys.path.insert(0, {path!r})
import resource
from wsock import Settings
from wsock.factory import ConnectionFactory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(100):
        blocks = [b"x" * 2**20 for _ in range(3)]
        del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

without = faults()
begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for _ in range(100):
    ConnectionFactory(print, None, Settings())
made = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - begin
print(without, faults(), made)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc's heap")
def test_the_heap_of_a_few_messages_is_kept() -> None:
    """Else the system gets it back, and gives it again page by page, for each large message."""
    program = PROGRAM.format(path=str(Path(wsock.__file__).parents[1]))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    without, kept, made = map(int, done.stdout.split())
    assert kept < 2000
    assert kept < without / 4
    # KiB: the blocks that say so are never touched.
    assert made < 2048
