"""``Sec-WebSocket-Extensions`` as values: offers and agreements (RFC 6455 section 9.1).

Rules:

* A list of extensions is data; a name means something only where it is compared with that of permessage-deflate, and
  no name is ever looked up in a namespace.
* Reading takes time linear in the field's length, well-formed or not.
* An offer that is wrong is declined, an answer that is wrong fails the connection; neither is an exception of ours.

The codec is in ``deflate``; here is what the two sides agree on (RFC 7692 sections 5 and 7.1).
"""

import re
from collections.abc import Iterable, Sequence
from typing import Final

from .errors import LocalProtocolError, whole_number, wrong_type
from .http import is_token

_TOKEN: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_NAME = re.compile(rf"[ \t]*({_TOKEN})[ \t]*")
# A quoted value must be a token once unquoted, so a quote or a space in it is an error whatever escapes it.
_PARAMETER = re.compile(rf';[ \t]*({_TOKEN})[ \t]*(?:=[ \t]*(?:({_TOKEN})|"([^"]*)")[ \t]*)?')
_ESCAPE = re.compile(r"\\(.)")
_EMPTY = re.compile(r"[ \t]*")
#: The one extension that is spoken here.
PERMESSAGE_DEFLATE: Final = "permessage-deflate"
_SERVER_NO_CONTEXT_TAKEOVER: Final = "server_no_context_takeover"
_CLIENT_NO_CONTEXT_TAKEOVER: Final = "client_no_context_takeover"
_SERVER_MAX_WINDOW_BITS: Final = "server_max_window_bits"
_CLIENT_MAX_WINDOW_BITS: Final = "client_max_window_bits"
_FLAGS: Final = (_SERVER_NO_CONTEXT_TAKEOVER, _CLIENT_NO_CONTEXT_TAKEOVER)
_WINDOWS: Final = (_SERVER_MAX_WINDOW_BITS, _CLIENT_MAX_WINDOW_BITS)
#: RFC 7692 sections 7.1.2.1 and 7.1.2.2: a decimal number from 8 to 15, without leading zeros.
_WINDOW_BITS: Final = {str(bits): bits for bits in range(8, 16)}
#: The largest window, of 32 KiB, which is meant where none is named (RFC 7692 section 7.1.2).
MAX_WINDOW_BITS: Final = 15
#: The largest window with context takeover where nobody says another, with which a connection takes less than 60 KiB.
CONTEXT_WINDOW_BITS: Final = 12
#: The smallest window that an encoder makes; zlib and its like make none of 256 bytes, which any decoder reads.
MIN_WINDOW_BITS: Final = 9


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


class DeflateParameters:
    """The parameters of permessage-deflate: those agreed, or those that a side wants (RFC 7692 section 7.1).

    Attributes:
        server_no_context_takeover: whether each message of the server is compressed by itself.
        client_no_context_takeover: whether each message of the client is.
        server_max_window_bits: the base-2 logarithm of the largest window that the server compresses with; None, of
            those that a side wants, for 15, or 12 with context takeover.
        client_max_window_bits: the same of the client.
    """

    __slots__ = (
        "client_max_window_bits",
        "client_no_context_takeover",
        "server_max_window_bits",
        "server_no_context_takeover",
    )

    def __init__(
        self,
        server_no_context_takeover: bool = True,
        client_no_context_takeover: bool = True,
        server_max_window_bits: object = MAX_WINDOW_BITS,
        client_max_window_bits: object = MAX_WINDOW_BITS,
    ) -> None:
        """Checks the windows.

        Raises:
            LocalProtocolError: one that is not 8 to 15, which no offer or answer may have.
        """
        self.server_no_context_takeover: Final = server_no_context_takeover
        self.client_no_context_takeover: Final = client_no_context_takeover
        self.server_max_window_bits: Final = _check_window_bits(_SERVER_MAX_WINDOW_BITS, server_max_window_bits)
        self.client_max_window_bits: Final = _check_window_bits(_CLIENT_MAX_WINDOW_BITS, client_max_window_bits)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (
            self.server_no_context_takeover,
            self.client_no_context_takeover,
            self.server_max_window_bits,
            self.client_max_window_bits,
        )

    def directions(self) -> tuple[tuple[int, bool], tuple[int, bool]]:
        """Of the server's messages, and of the client's: the largest window, and whether they refer to earlier ones."""
        server, client = not self.server_no_context_takeover, not self.client_no_context_takeover
        return (
            (max_window_bits(self.server_max_window_bits, server), server),
            (max_window_bits(self.client_max_window_bits, client), client),
        )

    def offer(self) -> Extension:
        """Make a client's offer of these, or of less.

        Its ``client_max_window_bits`` lets the server choose a window for us also where we want none.
        """
        parameters: list[tuple[str, str | None]] = []
        if self.server_no_context_takeover:
            parameters.append((_SERVER_NO_CONTEXT_TAKEOVER, None))
        if self.client_no_context_takeover:
            parameters.append((_CLIENT_NO_CONTEXT_TAKEOVER, None))
        (server_bits, _), (client_bits, _) = self.directions()
        if server_bits < MAX_WINDOW_BITS:
            parameters.append((_SERVER_MAX_WINDOW_BITS, str(server_bits)))
        limit = str(client_bits) if client_bits < MAX_WINDOW_BITS else None
        parameters.append((_CLIENT_MAX_WINDOW_BITS, limit))
        return Extension(PERMESSAGE_DEFLATE, parameters)

    def answer(self, offer: Extension) -> Extension | None:
        """Make a server's answer to an offer of permessage-deflate.

        A client that may refer back to earlier messages, and can't be held to the window that is wanted, is told not
        to: or it would decide how much memory its connection takes here.

        Returns:
            what is agreed on; None declines an offer that is invalid, or that demands a window of 256 bytes of us,
            which no encoder makes.
        """
        try:
            asked = _Asked(offer)
        except ValueError:
            return None
        if asked.server_bits == 8:
            return None
        parameters: list[tuple[str, str | None]] = []
        server_context = not (asked.server_no_context_takeover or self.server_no_context_takeover)
        if not server_context:
            parameters.append((_SERVER_NO_CONTEXT_TAKEOVER, None))
        client_context = not (asked.client_no_context_takeover or self.client_no_context_takeover)
        if not asked.may_limit_client and max_window_bits(self.client_max_window_bits, True) < MAX_WINDOW_BITS:
            client_context = False
        if not client_context:
            parameters.append((_CLIENT_NO_CONTEXT_TAKEOVER, None))
        server_bits = max_window_bits(self.server_max_window_bits, server_context)
        server_bits = min(asked.server_bits or MAX_WINDOW_BITS, server_bits)
        if asked.server_bits or server_bits < MAX_WINDOW_BITS:
            # RFC 7692 §7.1.2.1: an offer that has it is accepted by naming it, also the largest.
            parameters.append((_SERVER_MAX_WINDOW_BITS, str(server_bits)))
        client_bits = max_window_bits(self.client_max_window_bits, client_context)
        client_bits = min(asked.client_bits or MAX_WINDOW_BITS, client_bits)
        if asked.may_limit_client and client_bits < MAX_WINDOW_BITS:
            # RFC 7692 §7.1.2.2: only where the offer has it.
            parameters.append((_CLIENT_MAX_WINDOW_BITS, str(client_bits)))
        return Extension(PERMESSAGE_DEFLATE, parameters)


def _check_window_bits(name: str, bits: object) -> int | None:
    return None if bits is None else whole_number(name, bits, 8, MAX_WINDOW_BITS, True)


def max_window_bits(wanted: int | None, context_takeover: bool) -> int:
    """The largest window that a side wants, where it may have left that open."""
    if wanted is not None:
        return wanted
    return CONTEXT_WINDOW_BITS if context_takeover else MAX_WINDOW_BITS


class _Asked:
    """The parameters that an offer or an answer of permessage-deflate names; windows are 0 where it does not."""

    __slots__ = (
        "client_bits",
        "client_no_context_takeover",
        "may_limit_client",
        "server_bits",
        "server_no_context_takeover",
    )

    def __init__(self, extension: Extension, is_answer: bool = False) -> None:
        """Reads them.

        Args:
            extension: the offer or the answer.
            is_answer: which of the two: an answer has a value for ``client_max_window_bits``, an offer need not.

        Raises:
            ValueError: an unknown, repeated or invalid parameter.
        """
        given: dict[str, int] = {}
        for name, value in extension.parameters:
            if name in given:
                raise ValueError(f"permessage-deflate with a second {name}")
            if name in _FLAGS and value is None:
                given[name] = 1
            elif name in _WINDOWS and value in _WINDOW_BITS:
                given[name] = _WINDOW_BITS[value]
            elif name == _CLIENT_MAX_WINDOW_BITS and value is None and not is_answer:
                given[name] = 0
            elif name in _FLAGS or name in _WINDOWS:
                raise ValueError(f"permessage-deflate with an invalid {name}")
            else:
                raise ValueError("permessage-deflate with an unknown parameter")
        self.server_no_context_takeover: bool = _SERVER_NO_CONTEXT_TAKEOVER in given
        self.client_no_context_takeover: bool = _CLIENT_NO_CONTEXT_TAKEOVER in given
        self.server_bits: int = given.get(_SERVER_MAX_WINDOW_BITS, 0)
        self.client_bits: int = given.get(_CLIENT_MAX_WINDOW_BITS, 0)
        #: Whether an answer may have ``client_max_window_bits``.
        self.may_limit_client: bool = _CLIENT_MAX_WINDOW_BITS in given


def answer(offers: Sequence[Extension], deflate: DeflateParameters | None = None) -> list[Extension]:
    """Choose the extensions that a server agrees to.

    An offer is declined by leaving it out of the answer (RFC 6455 section 9.1).

    Args:
        offers: the client's, in its order of preference.
        deflate: the server's wishes for permessage-deflate; None declines it.

    Returns:
        the extensions of the 101, which are permessage-deflate by the first offer that can be agreed to, or none.
    """
    if deflate is not None:
        for offer in offers:
            agreed = deflate.answer(offer) if offer.name == PERMESSAGE_DEFLATE else None
            if agreed is not None:
                return [agreed]
    return []


def check_answer(extension: Extension, offers: Sequence[Extension]) -> None:
    """Check an extension that a server agreed to, beyond its having been offered; knows permessage-deflate alone.

    Args:
        extension: from the 101.
        offers: the client's.

    Raises:
        ValueError: it is no answer to any of these offers (RFC 7692 section 7.1).
    """
    if extension.name != PERMESSAGE_DEFLATE:
        return
    agreed = _Asked(extension, is_answer=True)
    if not any(offer.name == PERMESSAGE_DEFLATE and _is_answer(agreed, offer) for offer in offers):
        raise ValueError("permessage-deflate with parameters that do not answer the offer")


def _is_answer(agreed: _Asked, offer: Extension) -> bool:
    try:
        asked = _Asked(offer)
    except ValueError:
        # An offer that only its writer understands; there may be another one.
        return False
    if asked.server_no_context_takeover and not agreed.server_no_context_takeover:
        return False
    if asked.server_bits and not 0 < agreed.server_bits <= asked.server_bits:
        return False
    # RFC 7692 §7.1.2.2: the value that an offer has is a hint, which an answer may ignore, also by a greater one.
    return asked.may_limit_client or not agreed.client_bits


def agreed_deflate(extensions: Sequence[Extension]) -> DeflateParameters | None:
    """Read what is agreed on permessage-deflate, if it is among the extensions of a 101.

    Raises:
        LocalProtocolError: parameters that no handshake agrees on.
    """
    for extension in extensions:
        if extension.name == PERMESSAGE_DEFLATE:
            try:
                agreed = _Asked(extension, is_answer=True)
            except ValueError as error:
                raise LocalProtocolError(str(error)) from None
            return DeflateParameters(
                agreed.server_no_context_takeover,
                agreed.client_no_context_takeover,
                agreed.server_bits or MAX_WINDOW_BITS,
                agreed.client_bits or MAX_WINDOW_BITS,
            )
    return None
