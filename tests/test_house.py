"""The rules of the house, read from the syntax trees of the package: each fact has one writer, and parts have doors.

`PYTHONPATH=. python tests/test_house.py` prints the table of docs/design.md.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import wsock

ROOT = Path(__file__).resolve().parent.parent
#: The parts of a connection, with how long each lives, in the order of the table.
PARTS = {
    "wire/protocol.py:WebSocketTransport": "as long as Twisted's transport, or longer, until the application was told",
    "server/opening.py:ServerOpening": "until the connection is open, refused or handed on",
    "server/admission.py:Admission": "from the whole request to the decision",
    "client/opening.py:ClientOpening": "until the connection is open, or was never to be",
    "sansio/connection.py:Connection": "on a server from the agreement on, on a client from the beginning",
    "wire/inbox.py:Inbox": "from the core on, until the application has heard of the loss",
    "wire/outbox.py:Outbox": "as long as Twisted's transport",
    "wire/keepalive.py:Keepalive": "from the opening, or the first `measureLatency`, to the loss",
    "wire/closing.py:Closing": "from our Close, the peer's, a fault or a refusal on",
    "wire/producer.py:Producer": "from `attachProducer` until it is detached",
    "wire/closewatch.py:CloseWatch": "over TLS, until the connection is open; a client's until it ends",
    "server/accessrecord.py:AccessNote": "as long as the connection, where there is an access log, or `twisted.web`",
    "server/upgrade.py:Upgrade": "as long as the connection, where `twisted.web` has read the request",
    "wire/tls.py:TLSLayer": "our own TLS: as long as the transport below it",
    "wire/tlssending.py:Sender": "the same",
    "wire/tlsrecords.py:Records": "until the layer has told of the loss",
    "wire/factory.py:Connections": "as long as the factory",
}
#: Bases that classes of wsock may have among wsock's own, beside exceptions and typing's protocols: none has state.
STATELESS = {"Event", "ConnectionFactory", "WebSocketProtocol", "Driver", "TLSDriver", "LayerDriver", "InMemory"}
#: Writes to the attributes of other objects, with the reason.
WRITES = {
    "log.py:failure.tb": "a failure lets go of its frames",
    "log.py:one.__traceback__": "the same of an exception",
    "reasons.py:twin.__cause__": "an exception that was made here",
    "reasons.py:twin.args": "the same",
    "client/opening.py:dropped.__cause__": "the same",
    "client/opening.py:answer.body": "the answer that was decoded for this opening handshake",
    "client/tunnel.py:error.__cause__": "the same",
    "wire/keepalive.py:ping.timer": "a record of this module alone",
    "wire/watch.py:check.when": "the same",
    "wire/transports.py:transport.__class__": "Twisted's, see the rules of the module",
    "wire/hub.py:transport.__class__": "the same",
    "wire/adoption.py:transport.__class__": "the same",
    "wire/transports.py:transport.protocol": "Twisted's",
    "wire/transports.py:transport._wsockEnded": "Twisted's",
    "wire/transports.py:transport.producerPaused": "Twisted's",
    "wire/transports.py:below.producerPaused": "Twisted's",
    "wire/tlssending.py:below.producerPaused": "Twisted's",
    "wire/tls.py:context.options": "a context that was made for it, or is given to be changed",
    "client/tls.py:context.hostname_checks_common_name": "the same",
    "server/tls.py:context.minimum_version": "a context that was made here",
    "server/tls.py:context.sni_callback": "the same",
    "server/tls.py:context.sslobject_class": "the same",
    "server/tls.py:sys.unraisablehook": "Python's, during one call",
    "server/certificates.py:connection.context": "of a connection that ssl gives it to choose one for",
    "wire/transports.py:Telling.__name__": "a class that was made here",
    "wire/transports.py:Telling.__qualname__": "the same",
    "server/resource.py:webRequest.channel.persistent": "twisted.web's",
    "server/upgrade.py:channel._dataBuffer": "twisted.web's",
    "server/upgrade.py:channel.connectionLost": "twisted.web's",
    "server/upgrade.py:channel.dataReceived": "twisted.web's",
    "server/upgrade.py:channel.rawDataReceived": "twisted.web's",
    "server/upgrade.py:webRequest.finished": "twisted.web's",
    "server/upgrade.py:webRequest.notifications": "twisted.web's",
    "server/upgrade.py:webRequest.sentLength": "twisted.web's",
    "service/tap.py:site.requestFactory": "twisted.web's",
    "service/tap.py:site.noisy": "twisted.web's",
    "service/tap.py:_method.__doc__": "the help of an option",
    "service/settings.py:option.__doc__": "the same",
    "service/routes.py:channel.persistent": "twisted.web's",
    "service/routes.py:request.isLogged": "of its own request class",
    "service/starting.py:sys.excepthook": "Python's",
    "testing/transport.py:one._other": "its own class",
    "testing/transport.py:self._other._other": "the same",
    "testing/transport.py:one.connected": "the same",
    "testing/transport.py:one._reading": "the same",
}
#: Names with an underscore that are Python's own.
PYTHONS = {"_exit", "_getframe"}
#: Modules that may name Twisted's private attributes.
#: ``server/upgrade.py`` takes connections from an ``HTTPChannel``, whose bytes and whose place have no public name.
OF_TWISTED = {"wire/transports.py", "wire/hub.py", "server/upgrade.py"}


@cache
def trees() -> dict[str, ast.Module]:
    folder = Path(wsock.__file__).parent
    return {
        path.relative_to(folder).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(folder.rglob("*.py"))
    }


def isOwn(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def attributes(node: ast.AST) -> Iterator[ast.Attribute]:
    return (one for one in ast.walk(node) if isinstance(one, ast.Attribute))


@cache
def classes() -> dict[str, tuple[str, ast.ClassDef]]:
    found = {}
    for module, tree in trees().items():
        found.update({node.name: (module, node) for node in ast.walk(tree) if isinstance(node, ast.ClassDef)})
    return found


def basesOf(node: ast.ClassDef) -> list[str]:
    bases = [base.value if isinstance(base, ast.Subscript) else base for base in node.bases]
    return [base.attr if isinstance(base, ast.Attribute) else base.id for base in bases]  # type: ignore[attr-defined]


def isKindOf(node: ast.ClassDef, names: set[str]) -> bool:
    """Whether one of these is among its bases, at some depth."""
    return any(base in names or (base in classes() and isKindOf(classes()[base][1], names)) for base in basesOf(node))


def test_no_class_inherits_state() -> None:
    """Twisted's bases, exceptions, and typing's protocols aside."""
    for name, (module, node) in classes().items():
        if isKindOf(node, {"Exception", "Protocol", "ValueError"}):
            continue
        ours = {base for base in basesOf(node) if base in classes()}
        assert ours <= STATELESS, f"{name} of {module}"


@pytest.mark.parametrize("name", sorted(STATELESS))
def test_a_base_of_ours_has_no_state(name: str) -> None:
    module, node = classes()[name]
    state = {one.attr for one in attributes(node) if isinstance(one.ctx, ast.Store) and isOwn(one.value)}
    assert state <= {"transport"}, module  # `WebSocketProtocol` keeps its transport


def test_nothing_is_left_to_a_subclass() -> None:
    for module, tree in trees().items():
        for node in ast.walk(tree):
            assert not (isinstance(node, ast.Raise) and "NotImplementedError" in ast.dump(node)), (module, node.lineno)


def privateNames(tree: ast.Module) -> set[str]:
    """The names that the classes and functions of a module have, those in slots among them."""
    names = {one.attr for one in attributes(tree) if isOwn(one.value)}
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            names.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names.add(node.value)
    return names


def test_no_module_names_a_private_attribute_of_another() -> None:
    for module, tree in trees().items():
        if module in OF_TWISTED or module.startswith("sansio/"):
            continue
        known = privateNames(tree) | PYTHONS
        for one in attributes(tree):
            if one.attr.startswith("_") and not one.attr.startswith("__"):
                assert isOwn(one.value) or one.attr in known, f"{module}:{one.lineno} {ast.unparse(one)}"


def writes() -> set[str]:
    """Where an attribute of another object than ``self`` is written."""
    return {
        f"{module}:{ast.unparse(one)}"
        for module, tree in trees().items()
        if not module.startswith("sansio/")
        for one in attributes(tree)
        if isinstance(one.ctx, (ast.Store, ast.Del)) and not isOwn(one.value)
    }


def test_each_fact_has_one_writer() -> None:
    assert writes() == set(WRITES)


def written(part: str) -> set[str]:
    """The attributes that a part writes: its facts."""
    module, name = part.split(":")
    node = next(one for one in ast.walk(trees()[module]) if isinstance(one, ast.ClassDef) and one.name == name)
    return {one.attr for one in attributes(node) if isinstance(one.ctx, ast.Store) and isOwn(one.value)}


def readers(part: str, fact: str) -> list[str]:
    """The modules that name a fact of another object's; a name that others have, too, may be theirs."""
    found = set()
    for module, tree in trees().items():
        if module == part.split(":")[0] or not module.startswith(
            ("wire/", "server/", "client/", "stream", "broadcast")
        ):
            continue
        read = (one for one in attributes(tree) if isinstance(one.ctx, ast.Load) and not isOwn(one.value))
        if any(one.attr == fact for one in read):
            found.add(module.removesuffix(".py"))
    return sorted(found)


def table() -> str:
    lines = ["| owner, and how long it lives | facts that it alone writes, and who reads them |", "|---|---|"]
    for part, life in PARTS.items():
        module, name = part.split(":")
        told = []
        for fact in sorted(written(part), key=lambda fact: (fact.startswith("_"), fact)):
            others = [] if fact.startswith("_") else readers(part, fact)
            told.append(f"`{fact}` ({', '.join(others)})" if others else f"`{fact}`")
        lines.append(f"| `{name}` in {module.removesuffix('.py')}: {life} | {', '.join(told)} |")
    return "\n".join(lines)


def test_the_design_shows_the_facts() -> None:
    design = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    shown = re.search(r"<!-- facts -->\n(.*?)\n<!-- end of facts -->", design, re.DOTALL)
    assert shown is not None
    assert shown[1] == table(), "python tests/test_house.py prints the table"


#: A sentence that begins with a word that stands for the thing, and leaves its name to the reader to find.
NAMELESS = re.compile(r"(?:^|(?<=[.!?:] )|(?<=\.[)`\"] ))(?:What|Whatever|Who|Whoever|Else|That which)\b")


def docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            text = ast.get_docstring(node)
            if text is not None:
                yield node.body[0].lineno, text


def comments(source: str) -> Iterator[tuple[int, str]]:
    """The comments of a source; lines that follow one another are one comment."""
    first, last, lines = 0, -1, []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        if token.start[0] != last + 1:
            yield first, "\n".join(lines)
            first, lines = token.start[0], []
        last = token.start[0]
        lines.append(token.string.lstrip("#:").strip())
    yield first, "\n".join(lines)


def nameless(text: str) -> list[str]:
    """The sentences of a text that begin so; a paragraph and a point of a list begin a sentence, too."""
    parts = re.split(r"\n\s*\n|^\s*[*-] ", text, flags=re.MULTILINE)
    whole = (" ".join(part.split()) for part in parts)
    return [part[found.start() :] for part in whole for found in NAMELESS.finditer(part)]


@pytest.mark.parametrize(
    "text",
    ["What waits.", "Else it\nwaits.", "It waits. Who\nasks, gets.", "Rules:\n\n* That which waits", "One.\n\nWhoever"],
)
def test_a_sentence_that_names_nothing_is_seen(text: str) -> None:
    assert len(nameless(text)) == 1


@pytest.mark.parametrize("text", ["It knows what\nwaits. Whole messages.", "Somewhat.", "Elsewhere."])
def test_a_sentence_that_names_its_thing_is_not_taken_for_one(text: str) -> None:
    assert nameless(text) == []


@pytest.mark.parametrize("module", sorted(trees()))
def test_sentences_begin_with_what_they_are_about(module: str) -> None:
    source = (Path(wsock.__file__).parent / module).read_text(encoding="utf-8")
    for line, text in (*docstrings(trees()[module]), *comments(source)):
        assert nameless(text) == [], f"{module}:{line}"


@pytest.mark.parametrize("module", sorted(trees()))
def test_docstrings_begin_with_a_sentence(module: str) -> None:
    for line, text in docstrings(trees()[module]):
        assert not text.startswith(("Args:", "Returns:", "Raises:")), f"{module}:{line}"


if __name__ == "__main__":
    print(table())
