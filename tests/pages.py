"""Finds in the built documentation what Sphinx garbles without a warning: `python tests/pages.py FOLDER`.

The napoleon extension takes the words before a colon for a type, in the text of "Returns:" and in the first sentence of
a property. A name in single backticks that leads nowhere is shown like a link, and is none.
"""

from __future__ import annotations

import ast
import builtins
import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Final, NamedTuple

import wsock

#: The parts of an annotation, such as ``dict[str, wsock.Accept | None]``.
_TYPES: Final = (
    *(ast.Name, ast.Attribute, ast.Subscript, ast.BinOp, ast.BitOr, ast.Tuple, ast.List, ast.Constant),
    *(ast.Expression, ast.Load),
)
#: The characters that Sphinx shows for quotes and three dots, and how a type has them.
_PLAIN: Final = {0x2018: "'", 0x2019: "'", 0x2026: "..."}
#: Directives, roles and fields that a reader sees as such.
_MARKUP: Final = re.compile(r"\{eval-rst\}|literalinclude|```|\.\. \w+::|:\w+:`|:(param|rtype|raises)\b")
#: Elements that have no end tag.
_VOID: Final = ("br", "hr", "img", "input", "link", "meta", "source", "wbr")


def names_of_sources() -> set[str]:
    """The names that a type may have: those in the sources of wsock, and the builtins."""
    names = {"i64", "wsock", *vars(builtins)}
    for source in Path(wsock.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Name):
                names.add(node.id)
            elif isinstance(node, ast.alias):
                names.add(node.asname or node.name)
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.split(".")[0])
    return names


def is_type(text: str, names: set[str]) -> bool:
    """Whether a text is a type, and not words about one."""
    try:
        nodes = list(ast.walk(ast.parse(text.strip().translate(_PLAIN), mode="eval")))
    except SyntaxError:
        return False
    return all(isinstance(node, _TYPES) and (not isinstance(node, ast.Name) or node.id in names) for node in nodes)


class _Element(NamedTuple):
    tag: str
    classes: list[str]
    text: list[str]


class _Reader(HTMLParser):
    """Reads a page, and checks each element when it ends: its text is known then, and those around it."""

    def __init__(self, names: set[str]) -> None:
        super().__init__()
        self.names = names
        self.complaints: list[str] = []
        self.open: list[_Element] = []
        #: The name of the field whose content comes next, and the object that it is about.
        self.field = ""
        self.object = "?"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        classes = (attributes.get("class") or "").split()
        if "sig" in classes:
            self.object = attributes.get("id") or self.object
        if "problematic" in classes or "system-message" in classes:
            self.complaints.append("an error message of Sphinx's is on the page")
        if tag not in _VOID:
            self.open.append(_Element(tag, classes, []))

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element.text.append(data)
        if not any(element.tag in ("code", "pre", "script", "style") for element in self.open):
            for markup in _MARKUP.finditer(data):
                self.complaints.append(f"markup was not read as such: {markup[0]}")

    def handle_endtag(self, tag: str) -> None:
        while self.open:
            element = self.open.pop()
            if element.tag == tag:
                self.ended(element, " ".join("".join(element.text).split()))
                break

    def ended(self, element: _Element, text: str) -> None:
        if element.tag in ("dt", "dd") and any(name.startswith("field-") for name in element.classes):
            if element.tag == "dt":
                self.field = text.rstrip(":")
            else:
                self.check_field(text)
        elif "xref" in element.classes and not any(outer.tag == "a" for outer in self.open):
            self.complaints.append(
                f"{self.object}: `{text}` is no link: nothing of that name is documented, or several things"
            )

    def check_field(self, text: str) -> None:
        if not text:
            self.complaints.append(f"{self.object}: {self.field} is empty")
        elif self.field in ("Type", "Return type") and not is_type(text, self.names):
            self.complaints.append(
                f"{self.object}: words in the field {self.field!r}, perhaps those before a colon: {text}"
            )


def complaints(page: str, names: set[str]) -> list[str]:
    """The faults of a page, as HTML."""
    reader = _Reader(names)
    reader.feed(page)
    reader.close()
    return reader.complaints


def _check(folder: Path) -> Iterator[str]:
    names = names_of_sources()
    # Sphinx makes three of its own: the index of modules names packages that have no page.
    pages = sorted(page for page in folder.rglob("*.html") if page.stem not in ("genindex", "py-modindex", "search"))
    documented = 0
    for page in pages:
        html = page.read_text(encoding="utf-8")
        documented += html.count('class="field-')
        for complaint in complaints(html, names):
            yield f"{page.relative_to(folder)}: {complaint}"
    if not documented:
        yield f"{folder}: {len(pages)} pages, and none documents an argument"


if __name__ == "__main__":
    found = list(_check(Path(sys.argv[1])))
    for complaint in found:
        print(complaint)
    sys.exit(bool(found))
