"""Routes: which rules and which application a request gets, by its path."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NoReturn, TypeAlias

from ..application import BuildApplication, Refuse
from ..arguments import checkBuildApplication
from ..compression import Compression
from ..sansio.errors import LocalProtocolError, wrong_type
from ..settings import Settings
from .addresses import AddressLimits
from .hosts import AllowedHosts
from .paths import Pattern, splitPath
from .rules import Rules


class _Inherited:
    """The default of a `Route`'s arguments, some of which have a meaning for None."""

    def __repr__(self) -> str:
        return "<the factory's>"


_INHERITED: Final[Any] = _Inherited()
#: The defaults of a `WebSocketServerFactory`, for a first check of a route's arguments.
_DEFAULTS: Final[Mapping[str, Any]] = {
    "settings": Settings(),
    "subprotocols": (),
    "allowedOrigins": None,
    "allowedHosts": None,
    "headers": (),
    "compression": None,
    "addressLimits": None,
}


class Route:
    """A ``buildApplication`` with rules of its own for the paths that lead to it. An argument that isn't given is that
    of the `WebSocketServerFactory`.
    """

    __slots__ = ("_given", "buildApplication", "maxConnections")

    def __init__(
        self,
        buildApplication: BuildApplication,
        *,
        settings: Settings = _INHERITED,
        subprotocols: Sequence[str] = _INHERITED,
        allowedOrigins: Sequence[str] | None = _INHERITED,
        allowedHosts: AllowedHosts | None = _INHERITED,
        headers: Sequence[tuple[str, str]] = _INHERITED,
        compression: Compression | None = _INHERITED,
        maxConnections: int | None = None,
        addressLimits: AddressLimits | None = _INHERITED,
    ) -> None:
        """Makes a route, for `Routes`.

        Args:
            buildApplication: as that of `WebSocketServerFactory`, and so are the arguments below.
            settings: limits and timers. The factory's count for what comes before the path is known, ``openTimeout``
                and the limits of the head, and for ``checkThreads``.
            subprotocols: those to choose from where ``buildApplication`` chooses none, the preferred first.
            allowedOrigins: which pages may connect.
            allowedHosts: which hosts are served.
            headers: more fields for each 101 answer.
            compression: how messages are compressed.
            maxConnections: how many connections of this route may be open, among all those of the factory; one more is
                answered with 503. None for no limit beside the factory's.
            addressLimits: limits for each address that clients connect from.

        Raises:
            LocalProtocolError: an argument that can't be.
        """
        checkBuildApplication(buildApplication)
        self.buildApplication = buildApplication
        self.maxConnections = maxConnections
        given = {
            "settings": settings,
            "subprotocols": subprotocols,
            "allowedOrigins": allowedOrigins,
            "allowedHosts": allowedHosts,
            "headers": headers,
            "compression": compression,
            "addressLimits": addressLimits,
        }
        # Copies of what may give its items only once.
        self._given: dict[str, Any] = {
            name: tuple(value) if isinstance(value, Iterator) else value
            for name, value in given.items()
            if value is not _INHERITED
        }
        self.makeRules(_DEFAULTS)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Route can't be copied or pickled: make one in each process, with its function")

    def wrap(self, wrapper: Callable[[BuildApplication], BuildApplication]) -> Route:
        """Returns a route with the same rules, and with what the wrapper makes of its ``buildApplication``."""
        return Route(wrapper(self.buildApplication), **self._given, maxConnections=self.maxConnections)

    def makeRules(self, inherited: Mapping[str, Any]) -> Rules:
        """Makes the rules of this route.

        Args:
            inherited: the factory's arguments, by name.
        """
        return Rules(self.buildApplication, **{**inherited, **self._given}, maxConnections=self.maxConnections)


#: A destination of a pattern; a plain ``buildApplication`` is a `Route` with the factory's rules.
Destination: TypeAlias = "Route | BuildApplication"


class Routes:
    """Finds the `Route` of a request by its path. It stands where a ``buildApplication`` does.

    A pattern is a path, such as ``/chat``, or has parameters: ``/rooms/{name}``, where ``{name}`` is any one segment,
    and ``/files/{path*}``, where ``{path*}`` is the rest, of one segment or more. The request has their values in
    `Request.pathParameters`. Paths are compared segment by segment, each percent-decoded once, with regard to case;
    ``/chat`` and ``/chat/`` are two paths. If several patterns match, the one with the most literal segments counts.

    A path that could be read in two ways is answered with 400, before any route is looked for: one with an empty
    segment, with ``.`` or ``..``, an encoded slash, a backslash or a control character, or with bytes that are not
    UTF-8. A path that no pattern matches gets ``default``, or 404.

    The route is found before anything else of the request is decided on, so its own rules count: ``allowedHosts``,
    ``allowedOrigins`` and all the others.
    """

    __slots__ = ("_default", "_fixed", "_open", "_plain")

    def __init__(self, routes: Mapping[str, Destination], default: Destination | None = None) -> None:
        """Makes a table of routes, for one factory or several.

        Args:
            routes: a `Route`, or a ``buildApplication``, by pattern.
            default: the same for all other paths; None for 404.

        Raises:
            LocalProtocolError: a pattern that no path can match, two patterns for the same paths, or no application.
        """
        if not isinstance(routes, Mapping):
            advice = 'write {"/chat": buildApplication}'
            raise wrong_type("routes", "a mapping of patterns to routes", routes, advice)
        #: The routes of paths that are as their patterns, to the letter: nearly all requests.
        self._plain: dict[str, Route] = {}
        #: The patterns without parameters, by their segments.
        self._fixed: dict[tuple[str | None, ...], Route] = {}
        #: All others; of those that match, the first counts.
        self._open: list[tuple[Pattern, Route]] = []
        shapes: dict[object, str] = {}
        for text, destination in routes.items():
            pattern = Pattern(text)
            other = shapes.setdefault(pattern.shape, text)
            if other is not text:
                raise LocalProtocolError(f"two patterns for the same paths: {other!r} and {text!r}")
            route = _asRoute(destination)
            if None in pattern.segments:
                self._open.append((pattern, route))
            else:
                self._fixed[pattern.segments] = route
                if "%" not in text and text.isascii():
                    self._plain[text] = route
        self._open.sort(key=lambda entry: entry[0].rank)
        self._default = None if default is None else _asRoute(default)

    def __reduce__(self) -> NoReturn:
        raise TypeError("Routes can't be copied or pickled: make them in each process, with their functions")

    def __iter__(self) -> Iterator[Route]:
        """All routes, the default among them; a route may be there several times."""
        yield from self._fixed.values()
        for _, route in self._open:
            yield route
        if self._default is not None:
            yield self._default

    def wrap(self, wrapper: Callable[[BuildApplication], BuildApplication]) -> Routes:
        """Returns the same patterns, with what the wrapper makes of the ``buildApplication`` of each route."""
        # Several patterns may lead to one route, and share its limit.
        wrapped = {route: route.wrap(wrapper) for route in {*self}}
        routes = Routes({}, None if self._default is None else wrapped[self._default])
        routes._fixed.update((segments, wrapped[route]) for segments, route in self._fixed.items())
        routes._open.extend((pattern, wrapped[route]) for pattern, route in self._open)
        return routes

    def find(self, rawPath: str) -> tuple[Route, dict[str, str]]:
        """Returns the route of a path, and its parameters.

        Args:
            rawPath: as it came, percent-encoded, without the query.

        Raises:
            Refuse: with 400, where the path could be read in two ways; with 404, where there is no route.
        """
        plain = self._plain.get(rawPath)
        if plain is not None:
            return plain, {}
        try:
            segments = splitPath(rawPath)
        except ValueError as error:
            raise Refuse(400, body=f"Bad Request: {error}".encode()) from None
        route = self._fixed.get(segments)
        if route is not None:
            return route, {}
        for pattern, candidate in self._open:
            parameters = pattern.match(segments)
            if parameters is not None:
                return candidate, parameters
        if self._default is None:
            raise Refuse(404, body=b"Not Found: no route has this path")
        return self._default, {}


def _asRoute(destination: Any) -> Route:
    if isinstance(destination, Routes):
        raise LocalProtocolError("a route leads to an application: put the patterns of these Routes into the others")
    return destination if isinstance(destination, Route) else Route(destination)
