"""Checks of arguments, made where they are given: later it can't be told any more where a wrong one came from.

Rules:

* A message names the argument, its kind, and what to write; never the value, which may be a secret.
* Looks are cheap, and none is on the path of a message.
"""

from __future__ import annotations

import inspect
import sys
from types import FunctionType
from typing import Any

from .application import isApplication
from .sansio.connection import Connection
from .sansio.constants import Role
from .sansio.errors import LocalProtocolError, wrong_type
from .settings import Settings, checkNumber

#: Annotations are never evaluated: from Python 3.14 on a name that is there for type checkers alone would raise.
_ANNOTATIONS: dict[str, Any] = {}
if sys.version_info >= (3, 14):
    from annotationlib import Format

    _ANNOTATIONS["annotation_format"] = Format.STRING


def checkReactor(reactor: object) -> None:
    """Refuses a reactor that has no timers.

    Raises:
        LocalProtocolError: it is no reactor.
    """
    if isinstance(reactor, type) or not all(
        callable(getattr(reactor, name, None)) for name in ("callLater", "seconds")
    ):
        raise wrong_type("reactor", "a reactor", reactor, "from twisted.internet import reactor")


def checkStop(code: object, reason: object, timeout: object) -> None:
    """Refuses a Close that can't be sent to all, and an invalid time.

    Raises:
        LocalProtocolError: a code or a reason that can't travel, or a timeout that is no number of seconds above 0.
    """
    if not isinstance(code, int):
        raise wrong_type("a close code", "an int such as 1001", code)
    # The core knows which Closes can travel, and this one goes nowhere.
    Connection(Role.SERVER).close(code, reason)
    checkNumber("timeout", timeout, isTime=True, mayBeNone=False)


def checkSettings(settings: object) -> None:
    """Refuses settings that are no `Settings`.

    Raises:
        LocalProtocolError: it is of another type.
    """
    if not isinstance(settings, Settings):
        raise wrong_type("settings", "a Settings", settings, "write Settings(maxMessageSize=2**20)")


def checkCallback(name: str, function: object, argument: str, advice: str) -> inspect.Parameter | None:
    """Refuses a callback that can't be called with one argument.

    Args:
        name: the name of the parameter.
        function: it.
        argument: the name of its argument.
        advice: the text to write where it is no function.

    Returns:
        its first parameter, where that can be known.

    Raises:
        LocalProtocolError: it can't be called, or takes no argument, or needs more than one.
    """
    if not callable(function):
        raise wrong_type(name, f"a function that is called with {argument}", function, advice)
    try:
        signature = inspect.signature(function, **_ANNOTATIONS)
    except (ValueError, TypeError):
        # Some that are written in C have none.
        return None
    try:
        signature.bind(None)
    except TypeError as error:
        called = getattr(function, "__name__", type(function).__name__)
        advice = f"write lambda {argument.split()[-1]}: {called}(...)"
        raise LocalProtocolError(
            f"{name} is called with {argument}, and {called} can't be ({error}): {advice}"
        ) from None
    return next(iter(signature.parameters.values()), None)


def checkBuildApplication(build: object) -> None:
    """Refuses a ``buildApplication`` that can't be called with a request, or is the handler of a stream.

    Raises:
        LocalProtocolError: it is one of these.
    """
    if isinstance(build, FunctionType) and build.__name__ == "<lambda>" and build.__code__.co_argcount == 1:
        # As `connect` has one for each call; to look closer takes 10 us.
        return
    advice = "write a function that returns an application"
    if isApplication(build):
        advice = f"write lambda request: {type(build).__name__}(...)"
    elif type(build).__name__ == "Routes":
        # They are no function, since each route has rules that come before its application is asked.
        advice = "a server takes it as it is; put what stands around an application into each route"
    first = checkCallback("buildApplication", build, "each request", advice)
    annotation = None if first is None else first.annotation
    named = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
    if named.strip("'\"").endswith("WebSocketStream"):
        raise LocalProtocolError(
            "buildApplication is called with each request: give the handler of a stream as streamApplication(handler)"
        )


def checkEndpoint(endpoint: object) -> None:
    """Refuses a client endpoint that can't connect.

    Raises:
        LocalProtocolError: it is no client endpoint.
    """
    if isinstance(endpoint, type) or not callable(getattr(endpoint, "connect", None)):
        advice = ""
        if isinstance(endpoint, str):
            advice = "write clientFromString(reactor, endpoint), of twisted.internet.endpoints"
        elif hasattr(endpoint, "listen"):
            advice = "this one is for servers"
        raise wrong_type("endpoint", "a client endpoint", endpoint, advice)


def checkFallback(factory: object) -> None:
    """Refuses a fallback that builds no protocols.

    Raises:
        LocalProtocolError: it is no factory.
    """
    if isinstance(factory, type) or not callable(getattr(factory, "buildProtocol", None)):
        advice = "write twisted.web.server.Site(resource)" if hasattr(factory, "putChild") else ""
        raise wrong_type("fallback", "a factory of protocols", factory, advice)
