"""Sphinx configuration; `python -m sphinx -W docs docs/_build`."""

from pathlib import Path
from typing import Any, Final

from zope.interface.interface import InterfaceClass

import wsock
from wsock.wire.keepalive import Keepalive

project = "wsock"
copyright = "The wsock developers"
release = version = wsock.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = f"wsock {version}"
exclude_patterns = ["_build"]
# Pages may link to headings of each other.
myst_heading_anchors = 3
# `name` in a docstring is a link, where there is something of that name.
default_role = "py:obj"
autoclass_content = "both"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True

# In the types of arguments: "twisted.internet.interfaces.IAddress", and not "<InterfaceClass ...>".
InterfaceClass.__repr__ = lambda interface: f"{interface.__module__}.{interface.__name__}"

#: The kinds of changes, in the order of towncrier's configuration.
CHANGES: Final = ("security", "removed", "changed", "added", "fixed")


def unreleased() -> str:
    """Returns what the next release brings, as Markdown: the fragments of the changelog, which a release collects."""
    folder = Path(__file__).parents[1] / "changelog.d"
    lines = []
    for kind in CHANGES:
        fragments = sorted(folder.glob(f"*.{kind}.md"))
        if fragments:
            lines += [f"### {kind.title()}", ""]
            lines += [f"- {' '.join(fragment.read_text(encoding='utf-8').split())}" for fragment in fragments]
            lines.append("")
    return "\n".join(["## Unreleased", "", *lines]) if lines else ""


def add_unreleased(app: Any, docname: str, source: list[str]) -> None:
    """Puts the unreleased changes into the page that shows the changelog."""
    if docname == "changelog":
        source[0] = source[0].replace("% unreleased", unreleased())


def indent_arguments(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Indents what follows an "Args:" in a docstring's first line, as napoleon wants it."""
    if lines and lines[0] == "Args:":
        end = lines.index("") if "" in lines else len(lines)
        lines[1:end] = [f"    {line}" for line in lines[1:end]]


def hide_constructor(
    app: Any, what: str, name: str, obj: Any, options: Any, signature: str, returns: str
) -> tuple[str, str] | None:
    """Leaves out how connections are made, which is their factories' affair."""
    return ("", "") if what == "class" and isinstance(obj, type) and issubclass(obj, Keepalive) else None


def find_object(app: Any, env: Any, node: Any, contnode: Any) -> Any:
    """Finds what a name means that is not of the module or the class where it stands, if only one object has it."""
    if node.get("refdomain") != "py":
        return None
    domain = env.domains["py"]
    found = [name for name, it in domain.objects.items() if name.endswith(f".{node['reftarget']}") and not it.aliased]
    if len(found) != 1:
        return None
    return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", found[0], node, contnode)


def setup(app: Any) -> None:
    app.connect("source-read", add_unreleased)
    app.connect("missing-reference", find_object)
    app.connect("autodoc-process-docstring", indent_arguments, priority=400)
    app.connect("autodoc-process-signature", hide_constructor)
