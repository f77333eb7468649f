"""``Sec-WebSocket-Extensions`` as values: offers and agreements (RFC 6455 section 9.1).

Rules:

* A list of extensions is data; a name means something only where `answer` looks for it, and no name is ever looked
  up in a namespace.
* Reading takes time linear in the field's length, well-formed or not.

It knows no extension itself: `answer` is the one place where an offer becomes an agreement.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Final

from .errors import LocalProtocolError, wrong_type
from .http import is_token

_TOKEN: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_NAME = re.compile(rf"[ \t]*({_TOKEN})[ \t]*")
# A quoted value must be a token once unquoted, so a quote or a space in it is an error whatever escapes it.
_PARAMETER = re.compile(rf';[ \t]*({_TOKEN})[ \t]*(?:=[ \t]*(?:({_TOKEN})|"([^"]*)")[ \t]*)?')
_ESCAPE = re.compile(r"\\(.)")
_EMPTY = re.compile(r"[ \t]*")


class Extension:
    """An extension with its parameters, offered or agreed.

    Attributes:
        name: the extension's registered name.
        parameters: names and values in order; the value is None where there is no "=".
    """

    __slots__ = ("name", "parameters")

    def __init__(self, name: str, parameters: Sequence[tuple[str, str | None]] = ()) -> None:
        self.name: Final = name
        self.parameters: Final[tuple[tuple[str, str | None], ...]] = tuple(parameters)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Extension) and self.name == other.name and self.parameters == other.parameters

    def __hash__(self) -> int:
        return hash((self.name, self.parameters))

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.name, self.parameters)

    def __repr__(self) -> str:
        return f"Extension({self.name!r}, {self.parameters!r})"


def decode(value: str) -> list[Extension]:
    """Read the value of the field, or of several joined by commas.

    Args:
        value: the result of `HeaderFields.get <wsock.sansio.http.HeaderFields.get>`.

    Returns:
        the extensions in order; those of one name stay apart, as alternatives in order of preference.

    Raises:
        ValueError: it doesn't match the grammar of RFC 6455 section 9.1.
    """
    extensions: list[Extension] = []
    position = 0
    while True:
        match = _NAME.match(value, position)
        if match is not None:
            position = match.end()
            parameters: list[tuple[str, str | None]] = []
            parameter = _PARAMETER.match(value, position)
            while parameter is not None:
                position = parameter.end()
                parameters.append((parameter[1], _decode_value(parameter)))
                parameter = _PARAMETER.match(value, position)
            extensions.append(Extension(match[1], parameters))
        else:
            # RFC 9110 §5.6.1.2: a recipient MUST ignore empty elements of a list.
            empty = _EMPTY.match(value, position)
            position = position if empty is None else empty.end()
        if position == len(value):
            return extensions
        if value[position] != ",":
            raise ValueError("malformed Sec-WebSocket-Extensions")
        position += 1


def _decode_value(parameter: re.Match[str]) -> str | None:
    quoted: str | None = parameter[3]
    if quoted is None:
        value: str | None = parameter[2]
        return value
    unquoted = _ESCAPE.sub(r"\1", quoted)
    if not is_token(unquoted):
        # RFC 6455 §9.1: after unescaping, the value MUST conform to the token ABNF.
        raise ValueError("a quoted value in Sec-WebSocket-Extensions that is not a token")
    return unquoted


def encode(extensions: Iterable[object]) -> str:
    """Write the value of the field.

    Args:
        extensions: those offered or agreed, in order of preference.

    Returns:
        the value; "" for no extensions, where the field must be left out.

    Raises:
        LocalProtocolError: a name or a value isn't a token.
    """
    parts: list[str] = []
    for extension in extensions:
        if not isinstance(extension, Extension):
            raise wrong_type("each of extensions", "an Extension", extension)
        part = _check_token(extension.name)
        # For mypyc as objects: of a wrong type it would raise TypeError.
        parameters: Sequence[object] = extension.parameters
        for parameter in parameters:
            if not isinstance(parameter, tuple) or len(parameter) != 2:
                raise wrong_type("each parameter of an extension", "a pair (name, value)", parameter)
            name, value = parameter
            part += f"; {_check_token(name)}"
            if value is not None:
                part += f"={_check_token(value)}"
        parts.append(part)
    return ", ".join(parts)


def _check_token(text: object) -> str:
    if not isinstance(text, str) or not is_token(text):
        raise LocalProtocolError(f"not a token, as extensions and their parameters must be: {text!r}")
    return text


def answer(offers: Sequence[Extension]) -> list[Extension]:
    """Choose the extensions that a server agrees to.

    An offer is declined by leaving it out of the answer (RFC 6455 section 9.1); wsock speaks no extension yet, so
    each is.

    Args:
        offers: the client's, in its order of preference.

    Returns:
        the extensions of the 101.
    """
    return []
