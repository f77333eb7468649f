"""The tasks of this project: `nox --list` names them, `nox -s lint` runs one, and `.ci/run` runs those of the gate.

Tests run against a wheel, in a folder that holds the tests but not the package, so that `import wsock` can only find
what is installed. A session builds its wheel from the checkout, new files included; where WSOCK_WHEELS names a folder,
the wheels are taken from it, as `nox -s wheels` has left them there. Arguments after `--` go to pytest.

Under CI=true a missing program or Python is a failure.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import nox
from nox.command import CommandFailed

nox.needs_version = ">=2026.4"
nox.options.default_venv_backend = "venv"
nox.options.download_python = "never"
nox.options.error_on_missing_interpreters = os.environ.get("CI") == "true"
nox.options.sessions = ["lint", "types", "docs", "tests(compiled)"]

ROOT = Path(__file__).parent
# A person's own settings are not what is tested.
for name in list(os.environ):
    if name in ("COLUMNS", "PYTEST_ADDOPTS", "WSOCK_COMPILE") or name.startswith(("PYTHON", "WSOCK_EXPECT")):
        del os.environ[name]
os.environ |= {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1", "PYTHONDONTWRITEBYTECODE": "1"}
# The commands that pyenv puts on PATH run only for the versions that this variable lists; the present one stays first.
if shutil.which("pyenv"):
    _here = subprocess.run(["pyenv", "version-name"], capture_output=True, text=True, check=False).stdout.split()
    _all = subprocess.run(["pyenv", "versions", "--bare"], capture_output=True, text=True, check=False).stdout.split()
    os.environ["PYENV_VERSION"] = ":".join(dict.fromkeys([*_here, *_all]))


def runs(version: str) -> bool:
    """Whether that Python is at hand."""
    command = shutil.which(f"python{version}")
    return command is not None and not subprocess.run([command, "-V"], capture_output=True, check=False).returncode


#: None is the Python that runs nox.
HERE, OLDEST = None, "3.10"
NEWEST = "3.14" if runs("3.14") else "3.13"
PYTHONS = ["3.10", "3.11", "3.12", "3.13", *(["3.14"] if runs("3.14") else [])]
TWISTEDS = ["24.7.0", "24.10.0", "24.11.0", "25.5.0", "26.4.0", "26.10.0"]
#: Older versions of Twisted change a TLS context that they have used, which newer versions of pyOpenSSL refuse.
OLD_TLS = "pyopenssl<26.1"
OLDEST_TWISTED = ["twisted==24.7.0", OLD_TLS, "zope.interface==5.5.2"]
#: The two builds of wsock/sansio, by what `wsock.implementation` calls them.
CORES = {"compiled": "compiled", "interpreted": "python"}
#: The libraries that compress, by what `wsock.deflateImplementation` calls them, with the extras of a test with each;
#: and the one that goes with each core where a session does not say which.
EXTRAS = {"isal": "test,deflate", "zlib": "test"}
LIBRARIES = {"compiled": "isal", "interpreted": "zlib"}
#: Options of pytest: all tests but those that measure time; of these, the ones in memory; the ones that the command in
#: the README leaves out.
ALL = ("--hypothesis-profile=thorough", "-m", "not clock")
IN_MEMORY = ("--hypothesis-profile=quick", "-m", "not integration and not clock")
LEFT_OUT = ("-m", "(growth or slow) and not clock")
#: The quick ones on the reactor that runs.
ON_REACTOR = ("-m", "integration and not (growth or slow or clock)")
#: Reactors beside Twisted's own choice, which is epoll's: tests/reactors/sitecustomize.py has processes run on them.
REACTORS = ("poll", "select", "asyncio", "uvloop")
#: These reach all of the core.
CORE_TESTS = """
    test_assembler.py test_body.py test_compressed.py test_connection.py test_copies.py test_deflate.py
    test_extensions.py test_frames.py test_handshake.py test_http.py test_masking.py test_messages.py
    test_payloads.py test_properties.py test_shared.py test_url.py
"""


# Sources, wheels, installs


def missing(session: nox.Session, what: str) -> None:
    """Ends a session that can't run here."""
    if os.environ.get("CI") == "true":
        session.error(f"{what} is missing")
    session.skip(f"{what} is missing")


def emptied(session: nox.Session, name: str) -> Path:
    """The path of a folder of this session, where nothing is left of an earlier run."""
    with session.chdir(ROOT):
        folder = Path(session.create_tmp(), name).absolute()
    session.env.pop("TMPDIR", None)  # tests make UNIX sockets below it, whose paths have to be short
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def sources(session: nox.Session, *without: str) -> Path:
    """Copies the checkout as git sees it, new files included, except for what stands first in `without`."""
    folder = emptied(session, "suite" if without else "source")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.check_output(command, cwd=ROOT, text=True).split("\0"):
        if name and name.split("/")[0] not in without and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def suite(session: nox.Session) -> Path:
    """Copies the tests and what they read, without the package."""
    return sources(session, "wsock", "twisted", "setup.py")


def wheel(session: nox.Session, core: str, *, build: bool = False) -> Path:
    """The path of the wheel for the session's Python."""
    given = os.environ.get("WSOCK_WHEELS")
    version = session.python or f"{sys.version_info[0]}.{sys.version_info[1]}"
    folder = Path(given, f"{version}-{core}").absolute() if given else emptied(session, "wheels")
    if build or not given:
        command = ["python", "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), str(sources(session))]
        session.run(*command, env={"WSOCK_COMPILE": "1" if core == "compiled" else "0"})
    found = list(folder.glob("wsock-*.whl"))
    if len(found) != 1:
        session.error(f"{folder} has {len(found)} wheels: run `nox -s wheels`")
    if "twisted/__init__.py" in zipfile.ZipFile(found[0]).namelist():
        session.error(f"{found[0]} would replace Twisted")
    return found[0]


def install(session: nox.Session, core: str, *requirements: str, library: str | None = None) -> None:
    """Installs the wheel and what the tests need, and goes to the folder of the tests."""
    library = library or LIBRARIES[core]
    # In an environment that is there from an earlier run, pip takes another wheel of the same version for the same.
    session.run("python", "-m", "pip", "uninstall", "-q", "-y", "wsock")
    session.install(f"{wheel(session, core)}[{EXTRAS[library]}]", *requirements)
    session.chdir(suite(session))
    check(session, core, library)


def check(session: nox.Session, core: str, library: str = "zlib") -> None:
    """Fails where another build is installed, another library compresses, or `twistd` does not know wsock."""
    found = "wsock.implementation, wsock.deflateImplementation"
    session.run("python", "-c", f"import wsock; found = {found}; assert found == {(CORES[core], library)}, found")
    session.env["WSOCK_EXPECT_DEFLATE"] = library
    if "wsock" not in str(session.run("twistd", "--help", silent=True)):
        session.error("twistd has no command wsock")


def pytest(session: nox.Session, core: str, *options: str, **environment: str) -> None:
    """Runs tests in the present folder, with what stands after `--` on the command line."""
    session.run("pytest", *options, *session.posargs, env={"WSOCK_EXPECT": CORES[core], **environment})


def on_reactor(name: str) -> tuple[tuple[str, ...], dict[str, str]]:
    """The options of pytest and the environment for a run on a reactor; "" is Twisted's own choice."""
    if not name:
        return (), {}
    plugin = ("--reactor=asyncio",) if name in ("asyncio", "uvloop") else ()
    return plugin, {"WSOCK_REACTOR": name, "PYTHONPATH": str(Path("tests/reactors").absolute())}


def on_each(session: nox.Session, names: Sequence[str], run: Callable[[str], None]) -> None:
    """Calls a function with each name, even if it fails for one: a long session tells all that is wrong."""
    failed = []
    for name in names:
        try:
            run(name)
        except CommandFailed:
            failed.append(name or "default")
    if failed:
        session.error(f"failed: {', '.join(failed)}")


def wstest(session: nox.Session) -> Path:
    """The program of the Autobahn TestSuite, which is set up at its first use."""
    program = Path(os.environ.get("WSOCK_WSTEST", ROOT / ".nox/wstest/wstest")).absolute()
    setup = [ROOT / "tests/autobahn/setup-wstest.sh", program.parent]
    if not program.exists() and subprocess.run(setup, check=False).returncode:
        missing(session, "a working wstest")
    return program


def develop(session: nox.Session, extras: str) -> None:
    """Installs a copy of the checkout as a developer does it, which is never compiled, and goes to that copy."""
    folder = sources(session)
    session.install("-e", f"{folder}[{extras}]")
    session.chdir(folder.parent)
    check(session, "interpreted")
    session.chdir(folder)


# Words: linters, types, documentation


@nox.session
def lint(session: nox.Session) -> None:
    """Style, layers of imports, and the names of changelog fragments; .pre-commit-config.yaml has the same linters."""
    develop(session, "dev")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports", "--no-cache")
    # A fragment with a wrong name or type would stay out of the release notes.
    session.run("towncrier", "build", "--draft", "--version", "next", silent=True)
    for fragment in Path("changelog.d").iterdir():
        if fragment.name != ".gitignore" and fragment.suffixes[-2:-1] not in (
            [".added"], [".changed"], [".fixed"], [".removed"], [".security"],
        ):  # fmt: skip
            session.error(f"no type of change: {fragment}")


@nox.session
def types(session: nox.Session) -> None:
    """The package by mypy; what users are shown, as their checkers see it: mypy with and without plugin, pyright."""
    develop(session, "dev,test")
    session.run("mypy")
    session.run("python", "tests/typed/check.py")


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation, in which a warning is an error."""
    develop(session, "docs,tls")
    session.run("sphinx-build", "-q", "-W", "--keep-going", "-b", "html", "docs", "../html")
    session.run("python", "tests/pages.py", "../html")


# Tests


@nox.session
@nox.parametrize(
    "python,core",
    [(HERE, "compiled"), (HERE, "interpreted"), (OLDEST, "interpreted"), (NEWEST, "compiled")],
    ids=["compiled", "interpreted", "oldest", "newest"],
)
def wheels(session: nox.Session, core: str) -> None:
    """Builds the wheels of the gate into the folder that WSOCK_WHEELS names."""
    if "WSOCK_WHEELS" not in os.environ:
        session.error("WSOCK_WHEELS names no folder")
    session.log(f"built {wheel(session, core, build=True)}")


@nox.session
@nox.parametrize(
    "python,core,library,requirements,options",
    [
        nox.param(HERE, "compiled", "isal", [], ALL, id="compiled"),
        nox.param(HERE, "interpreted", "zlib", [], ALL, id="interpreted"),
        nox.param(HERE, "interpreted", "isal", [], LEFT_OUT, id="left-out"),
        nox.param(OLDEST, "interpreted", "zlib", OLDEST_TWISTED, IN_MEMORY, id="oldest"),
        nox.param(NEWEST, "compiled", "isal", ["twisted"], IN_MEMORY, id="newest"),
    ],
)
def tests(session: nox.Session, core: str, library: str, requirements: list[str], options: tuple[str, ...]) -> None:
    """All tests, or those that the command in the README leaves out, or those in memory on a pair of versions."""
    install(session, core, *requirements, library=library)
    pytest(session, core, *options)


@nox.session
@nox.parametrize(
    "core,tier,options",
    [
        nox.param("compiled", "", ON_REACTOR, id="one"),
        nox.param("compiled", "2", ALL, id="compiled"),
        nox.param("interpreted", "2", ALL, id="interpreted"),
    ],
)
def reactors(session: nox.Session, core: str, tier: str, options: tuple[str, ...]) -> None:
    """The tests on another reactor, chosen by the number of the commit; or all tests, and Autobahn, on each."""
    install(session, core, "uvloop>=0.21,<1")
    commits = subprocess.check_output(["git", "rev-list", "--count", "HEAD"], cwd=ROOT, text=True)
    names = REACTORS if tier else [REACTORS[int(commits) % len(REACTORS)]]

    def run(name: str) -> None:
        plugin, environment = on_reactor(name)
        pytest(session, core, *options, *plugin, **environment)
        if tier:
            command = ["tests/autobahn/both_roles.py", "--wstest", str(wstest(session)), "--tier", tier]
            session.run("python", *command, "--limit", "1200", env=environment)

    on_each(session, names, run)


@nox.session
def contract(session: nox.Session) -> None:
    """Twisted's tests of its own transports, with each of them read by the hub."""
    install(session, "interpreted", "pyhamcrest>=2,<3")
    session.run("python", "tests/contract.py")


@nox.session
def coverage(session: nox.Session) -> None:
    """All branches of the core, by its own tests. Counting distorts the tests that measure how time grows."""
    install(session, "interpreted")
    options = ["--cov", "--hypothesis-profile=quick", "-m", "not growth and not clock"]
    pytest(session, "interpreted", *options, *(f"tests/{name}" for name in CORE_TESTS.split()))


@nox.session(python=False)
def readme(session: nox.Session) -> None:
    """The two commands of the README, verbatim, in a new checkout on a machine without a C compiler."""
    session.chdir(sources(session))
    expected = {"WSOCK_EXPECT": "python", "WSOCK_EXPECT_DEFLATE": "zlib"}
    session.run(sys.executable, "tests/readme.py", env={"CC": "/nonexistent", **expected})


@nox.session
@nox.parametrize(
    "core,runs",
    [
        # Tiers of cases, as tests/autobahn/run.py has them: each holds those before it.
        nox.param("compiled", [("2",), ("1", "--tls")], id="compiled"),
        nox.param("interpreted", [("1",), ("1", "--tls")], id="interpreted"),
        nox.param("compiled", [("3",), ("2", "--tls"), ("compression", "--context-takeover")], id="compiled-long"),
        nox.param("interpreted", [("2",), ("2", "--tls")], id="interpreted-long"),
    ],
)
def autobahn(session: nox.Session, core: str, runs: list[tuple[str, ...]]) -> None:
    """The Autobahn TestSuite against both roles side by side; `-- --record` puts the figures on the page."""
    program = wstest(session)
    install(session, core)
    results = ["--record", str(ROOT / "tests/autobahn/results.json")] if "--record" in session.posargs else []
    for tier, *options in runs:
        limit = ["--limit", "5400" if tier == "3" else "1200"]
        command = ["tests/autobahn/both_roles.py", "--wstest", str(program), "--tier", tier, *limit, *options, *results]
        session.run("python", *command)
    if results:
        session.run("python", str(ROOT / "tests/autobahn/figures.py"))


# Sessions that take too long for each change, at most an hour each


@nox.session
def mutants(session: nox.Session) -> None:
    """Small faults, put into the package one at a time, each of which must turn a test red; words after `--` choose."""
    install(session, "interpreted", library="isal")
    # It edits the package, so it has the sources in place of what is installed.
    session.run("python", "-m", "pip", "uninstall", "-q", "-y", "wsock")
    folder = sources(session)
    session.chdir(folder)
    # A mutant that chooses another library is for a test to find, not for what is expected of the installed package.
    environment = {"PYTHONPATH": str(folder), "WSOCK_EXPECT_DEFLATE": None}
    session.run("python", "tests/mutants.py", *session.posargs, env=environment)


@nox.session
@nox.parametrize("core", list(CORES), ids=list(CORES))
def faults(session: nox.Session, core: str) -> None:
    """Resets, kills, a dead cable, a stop under load, at full size; lines "figure:" say what was measured."""
    install(session, core)
    files = ("tests/integration/test_faults.py", "tests/integration/test_signal_storm.py")
    pytest(session, core, *ALL, "--capture=no", *files, WSOCK_FAULTS="full")


@nox.session
def fuzz(session: nox.Session) -> None:
    """Records of TLS that are disturbed and forged, 20,000 times each, other ones in each run."""
    install(session, "interpreted")
    # All draws are one test.
    pytest(session, "interpreted", "--hypothesis-profile=fuzz", "--timeout=3600", "tests/test_tls_hostile.py")


@nox.session
@nox.parametrize("core", list(CORES), ids=list(CORES))
def storm(session: nox.Session, core: str) -> None:
    """2,000 clients at once and 10,000 in a row, on each reactor; lines "figure:" say how long they took to open."""
    install(session, core, "uvloop>=0.21,<1")

    def run(name: str) -> None:
        plugin, environment = on_reactor(name)
        options = (*ALL, "--capture=no", *plugin, "tests/integration/test_storm.py")
        pytest(session, core, *options, WSOCK_STORM="full", **environment)

    on_each(session, ("", *REACTORS), run)


@nox.session
@nox.parametrize("core", list(CORES), ids=list(CORES))
def soak(session: nox.Session, core: str) -> None:
    """Mixed traffic for half an hour, in which memory may not grow; a number after `--` is another time, in minutes."""
    install(session, core)
    session.run("python", "tests/soak.py", *session.posargs)


@nox.session
@nox.parametrize("core", list(CORES), ids=list(CORES))
def clock(session: nox.Session, core: str) -> None:
    """The tests that measure time, on a machine with nothing else to do."""
    install(session, core)
    pytest(session, core, "-m", "clock")


@nox.session(python=PYTHONS)
@nox.parametrize("core", list(CORES), ids=list(CORES))
def matrix(session: nox.Session, core: str) -> None:
    """All tests on each Python; on the interpreted core also each Twisted, in memory."""
    install(session, core)
    pytest(session, core, *ALL)
    for version in TWISTEDS if core == "interpreted" else []:
        session.install(f"twisted=={version}", OLD_TLS)
        pytest(session, core, *IN_MEMORY)
