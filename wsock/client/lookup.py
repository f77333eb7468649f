"""From a host to an endpoint that reaches it, for every name that a resolver may know.

Twisted's `HostnameEndpoint` takes host names alone where the package ``idna`` is installed: no underscore, as names of
containers have, no ``--`` in the third and fourth place, no hyphen at the end of a label, no A-label of an emoji. DNS
has no such rule (RFC 2181 section 11): which names there are is the resolver's to say.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import (
    IAddress,
    IHostnameResolver,
    IHostResolution,
    IProtocolFactory,
    IReactorPluggableNameResolver,
    IResolutionReceiver,
    IStreamClientEndpoint,
)
from twisted.python.failure import Failure
from zope.interface import implementer

#: A name that every version of IDNA takes as it stands: letters, digits and single hyphens inside of labels.
_HOST_NAME: Final = re.compile(r"(?:[a-z0-9]+(?:-[a-z0-9]+)*(?:\.|$))+")
#: The name that `HostnameEndpoint` is given in place of one that it might refuse; no host ever has it (RFC 6761).
_STAND_IN: Final = "name.invalid"


@implementer(IHostnameResolver)
class _Resolver:
    """Asks a resolver for one name, whichever name it is asked for itself."""

    def __init__(self, resolver: Any, host: str) -> None:
        self._resolver = resolver
        self._host = host

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        resolution: IHostResolution = self._resolver.resolveHostName(
            resolutionReceiver, self._host, portNumber, addressTypes, transportSemantics
        )
        return resolution


@implementer(IReactorPluggableNameResolver)
class _Reactor:
    """As much of a reactor as `HostnameEndpoint` uses, with a resolver of its own."""

    def __init__(self, reactor: Any, host: str) -> None:
        self.callLater = reactor.callLater
        self.seconds = reactor.seconds
        self.connectTCP = reactor.connectTCP
        self.nameResolver = _Resolver(reactor.nameResolver, host)

    def installNameResolver(self, resolver: IHostnameResolver) -> IHostnameResolver:
        raise RuntimeError("install it in the reactor")


@implementer(IStreamClientEndpoint)
class NamedEndpoint:
    """A `HostnameEndpoint` for any name: tries all its addresses, IPv6 and IPv4, and takes the first that answers."""

    def __init__(self, reactor: Any, host: str, port: int) -> None:
        """Makes an endpoint; the name is looked up when it connects.

        Args:
            reactor: to connect with; it has a resolver for names.
            host: a name in ASCII.
            port: the TCP port.
        """
        self._reactor = reactor
        self._host = host
        self._port = port

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        """Connects a protocol that the factory builds; the resolver is the one that the reactor has now."""
        endpoint = HostnameEndpoint(_Reactor(self._reactor, self._host), _STAND_IN, self._port)
        connecting: Deferred[Any] = endpoint.connect(protocolFactory)
        return connecting.addErrback(self._failed)

    def _failed(self, failure: Failure) -> Failure:
        if failure.check(DNSLookupError):
            # Its text has the stand-in.
            return Failure(DNSLookupError(f"no results for hostname lookup: {self._host}"))
        return failure


def hostEndpoint(reactor: Any, host: str, port: int) -> Any:
    """Returns an endpoint for a host.

    Args:
        reactor: to connect with.
        host: an address, or a name in ASCII that a resolver may know.
        port: the TCP port.
    """
    if _HOST_NAME.fullmatch(host) or isAddress(host):
        return HostnameEndpoint(reactor, host, port)
    if not IReactorPluggableNameResolver.providedBy(reactor):
        # Such a reactor asks for the IPv4 address itself.
        return TCP4ClientEndpoint(reactor, host, port)
    return NamedEndpoint(reactor, host, port)


def isAddress(host: str) -> bool:
    """Whether a host is an IP address, and no name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
