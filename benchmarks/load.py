"""The load generator, load.c: built at its first use, run beside a server."""

import contextlib
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).with_name("load.c")


class BenchmarkError(Exception):
    """Something that keeps a benchmark from running, in words for the person who started it."""


def build(*, tls: bool = False) -> Path:
    """Builds the program, unless the folder for temporary files has it.

    Args:
        tls: whether it is to speak TLS, for which it needs the headers of OpenSSL.

    Raises:
        BenchmarkError: there is no compiler, or it fails.
    """
    words = shlex.split(os.environ.get("CC", "cc"))
    compiler = shutil.which(words[0])
    if compiler is None:
        raise BenchmarkError(f"the load generator needs a C compiler, and {words[0]!r} is not on PATH (or set CC)")
    options = ["-std=gnu11", "-O2", "-DWITH_TLS"] if tls else ["-std=gnu11", "-O2"]
    digest = hashlib.sha256(SOURCE.read_bytes() + repr((words, options)).encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir(), f"wsock-benchmarks-{os.getuid()}")
    program = folder / f"load-{digest}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise BenchmarkError(f"{folder} belongs to somebody else")
    if program.exists():
        return program
    # Under a name of its own until it is whole: another run may be building it too.
    new = program.with_suffix(f".{os.getpid()}")
    libraries = ["-lssl", "-lcrypto"] if tls else []
    command = [compiler, *words[1:], *options, "-o", str(new), str(SOURCE), *libraries]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        why = "; are the headers of OpenSSL installed?" if tls else ""
        raise BenchmarkError(f"{words[0]} can't build the load generator{why}\n{result.stderr.strip()}")
    new.rename(program)
    return program


class Load:
    """A load whose connections are open, waiting to be told to begin."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def run(self) -> dict[str, float]:
        """Does the work; returns what load.c prints of it. The connections stay open."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        result: dict[str, float] = json.loads(self.read())
        return result

    def read(self) -> str:
        """The next line of the program.

        Raises:
            BenchmarkError: it has ended, and says why.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            assert self._process.stderr is not None
            raise BenchmarkError(self._process.stderr.read().strip() or "the load generator has ended")
        return line


@contextlib.contextmanager
def start(mode: str, port: int, options: list[str], *, tls: bool = False, cpu: int | None = None) -> Iterator[Load]:
    """Opens the connections of a load, and closes them at the end."""
    command = [str(build(tls=tls)), mode, str(port), *options, *(["-S"] if tls else [])]
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, preexec_fn=None if cpu is None else pin(cpu)
    )
    with process:
        try:
            load = Load(process)
            assert load.read() == "ready\n"
            yield load
        finally:
            process.kill()


def pin(cpu: int) -> Any:
    """For a new process: it runs on this CPU only."""
    return lambda: os.sched_setaffinity(0, {cpu})
