"""Checks the types of what users are shown: mypy --strict with mypy-zope's plugin and without it, and pyright.

`python tests/typed/check.py` takes the files beside it, the examples, and the blocks of Python in the README and the
documentation that are whole programs. Whatever a checker finds, it prints, and ends with 1.
"""

import ast
import builtins
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: The oldest that is supported: what it lacks is then told.
PYTHON = "3.10"
#: All of --strict but the calls of functions without annotations: these are Twisted's. All of wsock's have some.
MYPY = f"[mypy]\nstrict = true\npython_version = {PYTHON}\ndisallow_untyped_calls = false\n"
PLUGIN = "plugins = mypy_zope:plugin\n"
#: How often pyright is tried, which gets its own program from npm when it runs for the first time.
TRIES = 3


def programs(page: Path) -> list[str]:
    """The blocks of a page that are whole programs."""
    return [block for block in BLOCK.findall(page.read_text("utf-8")) if isProgram(block)]


def isProgram(block: str) -> bool:
    """Whether it begins with an import, waits for nothing outside a function, and has all names that it uses."""
    try:
        compile(block, "a block", "exec")
    except SyntaxError:
        return False
    used: set[str] = set()
    bound = set(dir(builtins))
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else bound).add(node.id)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            bound.add(node.name)
        elif isinstance(node, ast.alias):
            bound.add((node.asname or node.name).partition(".")[0])
    return block.startswith(("from ", "import ")) and used <= bound


def collect(folder: Path) -> list[str]:
    """Copies all that is checked to a folder, beside a link to wsock; returns the files' names."""
    (folder / "wsock").symlink_to(ROOT / "wsock", target_is_directory=True)
    # By their own names: examples import from each other. In the place of the folder that they run in.
    for source in sorted((ROOT / "examples").rglob("*.py")):
        shutil.copy(source, folder / source.name)
    for source in sorted(Path(__file__).parent.glob("*.py")):
        shutil.copy(source, folder / f"typed_{source.name}")
    for page in PAGES:
        for number, block in enumerate(programs(page)):
            (folder / f"{page.stem.replace('-', '_')}_{number}.py").write_text(block, "utf-8")
    return sorted(path.name for path in folder.glob("*.py"))


def run(command: list[str], folder: Path) -> int:
    """Runs a checker where the files are."""
    print("$", *command[:6], "...", flush=True)
    environment = os.environ | {"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1", "MYPYPATH": ""}
    return subprocess.run(command, cwd=folder, env=environment, check=False).returncode


def mypy(folder: Path, files: list[str], configuration: str) -> bool:
    """Whether mypy finds nothing; each file is a program of its own, and so named."""
    (folder / "mypy.ini").write_text(configuration, "utf-8")
    command = [sys.executable, "-m", "mypy", "--config-file=mypy.ini", "--no-incremental", "--follow-imports=silent"]
    return run([*command, *files], folder) == 0


def pyright(folder: Path, files: list[str]) -> bool:
    """Whether pyright finds nothing. It ends with 1 where it does; all else is an accident, such as a network's."""
    settings = {"pythonVersion": PYTHON, "typeCheckingMode": "standard", "include": files}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings), "utf-8")
    for attempt in range(TRIES):
        status = run([sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "-p", "."], folder)
        if status in (0, 1):
            return status == 0
        print(f"pyright ended with {status}", flush=True)
        time.sleep(5 * attempt)
    return False


def main() -> int:
    """Runs the three checks."""
    with tempfile.TemporaryDirectory(prefix="wsock-typed-") as name:
        folder = Path(name)
        files = collect(folder)
        print(f"{len(files)} files: {', '.join(files)}", flush=True)
        results = [mypy(folder, files, MYPY + PLUGIN), mypy(folder, files, MYPY), pyright(folder, files)]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
