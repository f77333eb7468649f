"""Compiles wsock/sansio with mypyc, and its XOR mask from C; all else that a build needs stands in pyproject.toml.

WSOCK_COMPILE says whether: `auto`, the default, compiles where it can and else stays with plain Python, saying why
in one line; `1` compiles or fails; `0` makes a pure wheel. Nothing is ever compiled in place: a stale extension
module would hide the edited source beside it.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
import sysconfig
import tempfile
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py
from setuptools.errors import BaseError, CCompilerError

#: A build requirement only of those who compile; bounded, since a newer mypy may find new faults.
MYPY = "mypy>=2.3,<2.5"
MODE = os.environ.get("WSOCK_COMPILE", "auto")
if MODE not in ("auto", "0", "1"):
    raise SystemExit(f"WSOCK_COMPILE must be auto, 0 or 1, not {MODE!r}")
SANSIO = Path("wsock", "sansio")
MASK = Extension(
    "wsock.sansio._masking",
    [str(SANSIO / "_masking.c")],
    extra_compile_args=[] if sys.platform == "win32" else ["-O3"],
)


def has_c_compiler() -> bool:
    """Whether a C file that includes Python.h compiles: a compiler alone is not enough."""
    # Imported here since setuptools, imported first, is what brings distutils on Python 3.12 and later.
    from distutils.ccompiler import new_compiler
    from distutils.sysconfig import customize_compiler

    paths = sysconfig.get_paths()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "probe.c")
        source.write_text("#include <Python.h>\n", encoding="ascii")
        try:
            compiler = new_compiler()
            customize_compiler(compiler)
            compiler.compile([str(source)], output_dir=folder, include_dirs=[paths["include"], paths["platinclude"]])
        except (CCompilerError, BaseError, OSError):
            return False
    return True


def obstacle() -> str | None:
    """Returns the obstacle to compiling here, before any build requirement is looked at."""
    if MODE != "auto":
        return "WSOCK_COMPILE=0" if MODE == "0" else None
    if platform.python_implementation() != "CPython":
        return "mypyc is for CPython only"
    return None if has_c_compiler() else "no C compiler with Python's headers"


def mypyc_extensions() -> list[Extension]:
    """The extensions that replace the modules of wsock/sansio; `__init__` has nothing to compile."""
    from mypyc.build import mypycify

    return mypycify(
        [
            # No configuration: a build does not have the plugin that it names. Silent: the public names in wsock's
            # __init__ lead to Twisted, which is not there either.
            "--config-file=",
            "--follow-imports=silent",
            "--ignore-missing-imports",
            *(str(path) for path in sorted(SANSIO.glob("*.py")) if path.name != "__init__.py"),
        ],
        opt_level="3",
        debug_level="0",
        # One library for all modules, inside the package; by default it is a top-level `<hash>__mypyc`.
        group_name="wsock.sansio._core",
    )


def say_plain(why: str) -> None:
    print(f"wsock: {why}, so the core stays plain Python", file=sys.stderr)


class BuildCore(build_ext):
    """Asks mypyc for its C when a build has really begun, not each time that metadata are read."""

    def run(self) -> None:
        if self.editable_mode or self.inplace:
            if MODE == "1":
                raise SystemExit("wsock is not compiled in place: build a wheel")
            self.extensions = []
            return
        self.remove_outputs()
        try:
            self.distribution.ext_modules = [MASK, *mypyc_extensions()]
            self.reinitialize_command(self).ensure_finalized()
            super().run()
        except (ImportError, SystemExit, CCompilerError, BaseError, OSError) as error:
            if MODE == "1":
                raise
            self.remove_outputs()
            self.extensions = self.distribution.ext_modules = []
            say_plain(f"compiling failed ({type(error).__name__}: {error})")

    def remove_outputs(self) -> None:
        """All or nothing: a module compiled now does not go with one left over from another build."""
        for output in Path(self.build_lib, SANSIO).glob("*" + sysconfig.get_config_var("EXT_SUFFIX")):
            output.unlink()


class BuildPlain(build_py):
    def run(self) -> None:
        if MODE == "auto":
            say_plain(reason)
        super().run()


reason = obstacle()
requirements = [] if reason else [MYPY]
# True while a frontend still asks for the build requirements, and in a build without isolation.
if not reason and MODE == "auto" and importlib.util.find_spec("mypyc") is None:
    reason = "mypyc is not installed"
if reason:
    setup(setup_requires=requirements, cmdclass={"build_py": BuildPlain})
else:
    setup(setup_requires=requirements, cmdclass={"build_ext": BuildCore}, ext_modules=[MASK])
