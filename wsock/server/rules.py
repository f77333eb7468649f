"""The rules for the connections of one path: all that a server's factory is given for them, checked and made ready."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..application import BuildApplication
from ..arguments import checkSettings
from ..compression import Compression, asOptions, asParameters, checkCompression
from ..sansio import handshake
from ..sansio.constants import Role
from ..sansio.errors import wrong_type
from ..sansio.http import check_fields
from ..settings import Settings, checkNumber
from ..wire.factory import SOFTWARE, raiseTrimThreshold, withDefaultField
from ..wire.protocol import WebSocketTransport
from .addresses import AddressLimits
from .hosts import AllowedHosts, makeHostRule


class Rules:
    """The rules by which a request is decided on, and its connection is served.

    Attributes:
        buildApplication: asked last.
        settings: limits and timers.
        subprotocols: those to choose from, the preferred first.
        allowedOrigins: the pages that may connect.
        hostRule: says why the host of a request is not served; None where all are.
        headers: more fields for each answer that accepts.
        answerFields: the same, with those that are always there.
        compression: how messages are compressed, or None.
        deflateParameters: the wishes for permessage-deflate; None declines it.
        deflateOptions: how a connection compresses.
        maxConnections: how many connections may be open by these rules, or None.
        addressLimits: the limits for each address, or None.
    """

    __slots__ = (
        "_open",
        "addressLimits",
        "allowedOrigins",
        "answerFields",
        "buildApplication",
        "compression",
        "deflateOptions",
        "deflateParameters",
        "headers",
        "hostRule",
        "maxConnections",
        "settings",
        "subprotocols",
    )

    def __init__(
        self,
        buildApplication: Any,
        *,
        settings: Settings,
        subprotocols: Sequence[str],
        allowedOrigins: Sequence[str] | None,
        allowedHosts: AllowedHosts | None,
        headers: Sequence[tuple[str, str]],
        compression: Compression | None,
        maxConnections: int | None,
        addressLimits: AddressLimits | None,
    ) -> None:
        """Checks the arguments of a `WebSocketServerFactory`, but for the first.

        Raises:
            LocalProtocolError: an argument that can't be, such as an origin with a path, or a header in bytes.
        """
        checkSettings(settings)
        raiseTrimThreshold(settings.maxMessageSize)
        self.buildApplication: BuildApplication = buildApplication
        self.settings = settings
        # Copies: some give their items only once, and others may change after they were checked.
        if isinstance(allowedOrigins, Iterable) and not isinstance(allowedOrigins, (str, bytes)):
            allowedOrigins = tuple(allowedOrigins)
        handshake.check_origins(allowedOrigins)
        self.allowedOrigins: Sequence[str] | None = allowedOrigins
        self.hostRule = makeHostRule(allowedHosts)
        self.headers = tuple(check_fields(headers))
        self.answerFields = handshake.ReadyFields(withDefaultField(self.headers, "Server", SOFTWARE))
        self.subprotocols = tuple(handshake.check_subprotocols(subprotocols))
        checkCompression(compression)
        self.compression = compression
        self.deflateParameters = None if compression is None else asParameters(compression, Role.SERVER, settings)
        self.deflateOptions = asOptions(compression, Role.SERVER, settings)
        checkNumber("maxConnections", maxConnections)
        self.maxConnections = maxConnections
        if addressLimits is not None and not isinstance(addressLimits, AddressLimits):
            raise wrong_type("addressLimits", "an AddressLimits or None", addressLimits)
        self.addressLimits = addressLimits
        #: The open connections, where they have a limit of their own.
        self._open: set[WebSocketTransport] = set()

    # Limits

    @property
    def isFull(self) -> bool:
        """Whether as many connections are open by these rules as may be."""
        return self.maxConnections is not None and len(self._open) >= self.maxConnections

    def count(self, transport: WebSocketTransport) -> None:
        """Counts a connection that is about to open, until it is lost."""
        if self.maxConnections is not None and transport.groupJoined(self):
            self._open.add(transport)
        seat = None if self.addressLimits is None else self.addressLimits.seat(transport.request.getClientAddress())
        if seat is not None and not transport.groupJoined(seat):
            seat.discard(transport)

    def discard(self, transport: WebSocketTransport) -> None:
        """A connection is lost."""
        self._open.discard(transport)
