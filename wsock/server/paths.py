"""Paths of requests, segment by segment, and the patterns that they are matched against.

Rules:

* A path is taken as it came. Each segment is decoded once, and compared with regard to case.
* A path that could be read in two ways is invalid, whether a pattern would match it or not: a proxy in front, or the
  code behind, might read it in the other one.
* A slash at the end belongs to the path: ``/chat`` and ``/chat/`` are two paths.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from ..sansio.errors import LocalProtocolError, wrong_type

_BROKEN: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
#: Separators, and the control characters of ASCII and of Unicode.
_AMBIGUOUS: Final = re.compile("[/\\\\\x00-\x1f\x7f-\x9f]")
_PARAMETER: Final = re.compile(r"\{([^{}*]*)(\*?)\}")


def splitPath(rawPath: str) -> tuple[str, ...]:
    """Returns the decoded segments of a path; the last one is empty where the path ends in a slash.

    Args:
        rawPath: as it came, percent-encoded.

    Raises:
        ValueError: an empty segment before the last; ``.`` or ``..``; an encoded slash, a backslash or a control
            character; bytes that are no UTF-8; a percent sign that encodes nothing. The message says which.
    """
    if not rawPath.startswith("/"):
        raise ValueError("a path that does not begin with a slash")
    if not rawPath.isascii():
        raise ValueError("a path that is not percent-encoded")
    segments = tuple(map(_decode, rawPath[1:].split("/")))
    if "" in segments[:-1]:
        raise ValueError("a path with an empty segment")
    return segments


def _decode(segment: str) -> str:
    if "%" in segment:
        if _BROKEN.search(segment):
            raise ValueError("a path with a % that is not followed by two hexadecimal digits")
        try:
            segment = unquote_to_bytes(segment).decode()
        except UnicodeDecodeError:
            raise ValueError("a path that is not UTF-8") from None
    if segment in (".", ".."):
        raise ValueError("a path with a . or .. as a segment")
    if _AMBIGUOUS.search(segment):
        raise ValueError("a path with an encoded slash, a backslash or a control character in a segment")
    return segment


class Pattern:
    """A pattern of paths, such as ``/rooms/{name}``.

    Attributes:
        text: the pattern as it was written.
        segments: its segments, with None for each parameter.
        hasRest: whether its last parameter stands for the rest of a path.
    """

    __slots__ = ("_names", "hasRest", "segments", "text")

    def __init__(self, text: Any) -> None:
        """Reads a pattern.

        Args:
            text: segments as they stand in a URL, or decoded; ``{name}`` is a whole segment that may be any, and
                ``{name*}``, at the end, is one segment or several.

        Raises:
            LocalProtocolError: no path can match it, or a parameter is no Python name, or is there twice.
        """
        if not isinstance(text, str):
            raise wrong_type("a pattern of paths", 'a str such as "/rooms/{name}"', text)
        if not text.startswith("/") or "?" in text or "#" in text:
            raise _invalid(text, "it begins with a slash, and has no query")
        *before, last = text[1:].split("/")
        if "" in before:
            raise _invalid(text, "a segment is empty")
        self.text: Final = text
        self._names: Final[list[str]] = []
        self.hasRest = False
        self.segments: Final = (*map(self._read, before), self._read(last, isLast=True))

    def _read(self, segment: str, isLast: bool = False) -> str | None:
        """Reads one segment; returns None for a parameter."""
        parameter = _PARAMETER.fullmatch(segment)
        if parameter is None:
            if "{" in segment or "}" in segment:
                raise _invalid(self.text, "a parameter is a whole segment, such as {name}; a brace is %7B or %7D")
            try:
                return _decode(segment)
            except ValueError as error:
                raise _invalid(self.text, str(error)) from None
        name, isRest = parameter.groups()
        if not name.isidentifier():
            raise _invalid(self.text, f"{{{name}}} is no Python name")
        if name in self._names:
            raise _invalid(self.text, f"{{{name}}} is there twice")
        if isRest and not isLast:
            raise _invalid(self.text, f"{{{name}*}} is for the end")
        self._names.append(name)
        self.hasRest = bool(isRest)
        return None

    @property
    def shape(self) -> tuple[object, ...]:
        """Equal for two patterns that match the same paths."""
        return (self.hasRest, *self.segments)

    @property
    def rank(self) -> tuple[object, ...]:
        """The least of several patterns that match a path is the one that counts.

        It has the most literal segments; of these it stands for one segment in place of several; of these its literal
        segments come first.
        """
        literals = [segment is not None for segment in self.segments]
        return (-sum(literals), self.hasRest, [not literal for literal in literals])

    def match(self, segments: Sequence[str]) -> dict[str, str] | None:
        """Returns the parameters that a path has, or None if it does not match.

        Args:
            segments: of the path, from `splitPath`.
        """
        count = len(self.segments)
        if len(segments) != count and not (self.hasRest and len(segments) > count):
            return None
        values = []
        for own, segment in zip(self.segments, segments):  # noqa: B905 - the rest has its own turn
            if own is None:
                values.append(segment)
            elif own != segment:
                return None
        if self.hasRest:
            values[-1] = "/".join(segments[count - 1 :])
            if not segments[-1]:
                return None
        # A parameter is never empty: /rooms/ has no name.
        return dict(zip(self._names, values, strict=True)) if all(values) else None


def _invalid(text: str, why: str) -> LocalProtocolError:
    return LocalProtocolError(f"not a pattern of paths: {text!r}: {why}")
