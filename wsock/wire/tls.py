"""Our own TLS, on the standard library's ``ssl``: a transport above any transport, for servers and clients.

Rules:

* Above it is as a TCP transport: a producer and a consumer, whose end is told. `ConnectionDone` comes behind the
  peer's close_notify, `ConnectionLost` where TCP ended without one, the error of ``ssl`` for what is no TLS.
* Every method is written out. With ``__getattr__`` a user of the transport below would send plain text.
* The loss is told from the reactor's own calls alone: never within a call of the protocol's above.
* `wsock.wire.tlsrecords` has TLS itself, `wsock.wire.tlssending` what leaves; here are what comes in, and the end.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from typing import Any, Final, final

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IConsumer,
    IDelayedCall,
    ILoggingContext,
    INegotiated,
    IProtocol,
    IPushProducer,
    ISSLTransport,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from ..log import ClassLogger
from ..request import loadCertificate
from .closing import DRAIN_SECONDS, MAX_DISCARDED_BYTES
from .producer import Producer
from .timer import Timer
from .tlsdriver import LAYER
from .tlsrecords import Records
from .tlssending import Sender
from .transports import DRIVERS, driverOf, isStock, push

#: The states. In the TLS handshake; open; our close_notify is written, and the peer's end awaited; the transport below
#: closes, and the protocol above is told when that is lost; the protocol above has been told.
_SHAKING: Final = 0
_OPEN: Final = 1
_SHUT: Final = 2
_CLOSED: Final = 3
_TOLD: Final = 4

#: Bits that say why nothing is delivered: the protocol above has paused; it is being told something.
_PAUSED: Final = 1
_DELIVERING: Final = 2
#: So many bytes of TLS's own answers are held for a peer that reads nothing; the connection is dropped beyond: each
#: KeyUpdate, and each wish for a renegotiation, has one.
_MAX_ANSWER_BYTES: Final = 2**16


def prepareContext(context: ssl.SSLContext) -> ssl.SSLContext:
    """Has a context refuse renegotiation, by which a client could make a server work (CVE-2011-1473), and speak
    HTTP/1.1 by ALPN (RFC 7301); returns it.
    """
    context.options |= ssl.OP_NO_RENEGOTIATION
    # One who offers other protocols alone is served without ALPN: the standard library can't send its alert.
    context.set_alpn_protocols(["http/1.1"])
    return context


@final
@implementer(IProtocol, ISSLTransport, INegotiated, IConsumer, IPushProducer, ILoggingContext)
class TLSLayer:
    """TLS between a protocol and the transport below, of either role.

    Attributes:
        protocol: the one above; None once it was told of the loss.
        transport: the one below.
        disconnecting: whether it was told to close.
        sender: the sending half; None before there is a transport below.
    """

    __slots__ = (
        "__weakref__",
        "_answerBytes",
        "_closeSeconds",
        "_continuation",
        "_discarded",
        "_isServer",
        "_producer",
        "_reactor",
        "_records",
        "_state",
        "_stops",
        "_timer",
        "disconnecting",
        "protocol",
        "sender",
        "setPeer",
        "transport",
    )

    _log = ClassLogger()

    #: For the endpoint of txtorcon, which gives it to the protocol that it has connected.
    setPeer: Any

    def __init__(
        self,
        protocol: Any,
        context: ssl.SSLContext,
        reactor: Any,
        closeSeconds: float | None,
        serverName: str | None = None,
        isServer: bool = True,
    ) -> None:
        """Makes a layer that is not connected.

        Args:
            protocol: the one above; it gets its transport when this gets its own.
            context: what to prove, and whom to trust.
            reactor: for the timers.
            closeSeconds: how long the peer's end is awaited behind ours; None for as long as it takes.
            serverName: a client's: the host that the server has to be.
            isServer: the role.
        """
        self.protocol = protocol
        self.transport: Any = None
        self.sender: Sender = None  # type: ignore[assignment]
        self.disconnecting = False
        self._reactor = reactor
        self._closeSeconds = closeSeconds
        self._isServer = isServer
        #: TLS itself; None once the protocol above was told of the loss.
        self._records: Any = Records(context, isServer, serverName)
        self._state = _SHAKING
        self._stops = 0
        #: The producer of the protocol above.
        self._producer: Producer | None = None
        self._discarded = 0
        #: The size of the answers of TLS since the transport below took its last.
        self._answerBytes = 0
        #: The time that the peer has to end, or the transport below to get rid of its bytes; None before.
        self._timer: Timer | None = None
        #: The call in the next turn that delivers what waits.
        self._continuation: IDelayedCall | None = None

    def logPrefix(self) -> str:
        """Names the connection in Twisted's log, as the protocol above does."""
        inner = self.protocol
        return str(inner.logPrefix()) if ILoggingContext.providedBy(inner) else type(inner).__name__

    # IProtocol, for the transport below

    def makeConnection(self, transport: Any) -> None:
        """Takes the transport below over; Twisted calls this once."""
        self.transport = transport
        self.sender = Sender(transport, self._records, self)
        driverOf(transport).tellEnd(transport, self._tlsBelowEnded)
        self.protocol.makeConnection(self)
        if not self._isServer and self._state == _SHAKING:
            self._shake()

    def connectionMade(self) -> None:
        """Part of Twisted's interface; `makeConnection` does all."""

    def dataReceived(self, data: bytes) -> None:
        """Takes bytes from the transport below; Twisted calls this."""
        if self._state != _OPEN or self._stops:
            self._receive(data)
            return
        records = self._records
        text = records.decrypt(data)
        if text:
            self._stops = _DELIVERING
            try:
                self.protocol.dataReceived(text)
            finally:
                self._stops &= ~_DELIVERING
        if records.outgoing.pending or records.hasEnded or self.disconnecting or records.isWaiting:
            self._proceed()

    def connectionLost(self, reason: Failure) -> None:
        """The transport below is lost."""
        records = self._records
        if self._state <= _OPEN and not self.disconnecting:
            # All that has come is delivered, paused or not: there is no other time for it.
            text = records.decryptAll()
            if text:
                self.protocol.dataReceived(text)
            if records.isShaken and not records.peerEnded and reason.check(ConnectionDone):
                reason = Failure(ConnectionLost("the peer ended TCP without an end of TLS"))
        if self._timer is not None:
            self._timer.stop()
        self._tell(reason)

    # From the transport below to the protocol above

    def setProtocol(self, protocol: Any) -> None:
        """Has another protocol above from now on; it has been given this as its transport, or is about to be."""
        self.protocol = protocol

    def _receive(self, data: bytes) -> None:
        """Takes bytes in the other states, and while nothing may be delivered."""
        if self._state == _SHAKING:
            self._records.take(data)
            self._shake()
            self._proceed()
        elif self._state == _SHUT:
            self._discard(data)
        elif self._state == _OPEN:
            # They wait; the transport below pauses, or another call is about to go on.
            self._records.take(data)

    def _shake(self) -> None:
        """Goes on with the TLS handshake."""
        records = self._records
        isDone = records.shake()
        self.sender.send(records.outgoing.read())
        if isDone:
            self._state = _OPEN
            self.sender.proceed()
        elif records.hasEnded:
            self._end(self._whyEnded())

    def _proceed(self) -> None:
        """Goes on after bytes were taken: delivers, answers for TLS, and ends, as things stand."""
        records = self._records
        while self._state == _OPEN:
            self._answer()
            if self._stops or self._state != _OPEN:
                return
            if self.disconnecting:
                self._shutWhenWritten()
                return
            text = records.decryptMore()
            if text:
                self._stops |= _DELIVERING
                try:
                    self.protocol.dataReceived(text)
                finally:
                    self._stops &= ~_DELIVERING
            elif records.hasEnded:
                # All that was written is still to leave, unless there is a fault.
                self.sender.finish()
                records.end()
                self.sender.send(records.outgoing.read())
                self._end(self._whyEnded())
            elif not records.outgoing.pending:
                return

    def _answer(self) -> None:
        """Sends what TLS itself has to say: a ticket, an answer to a KeyUpdate, or an alert."""
        answer = self._records.outgoing.read()
        if answer:
            self.sender.send(answer)
            self._answerBytes = 0 if self.sender.writable else self._answerBytes + len(answer)
            if self._answerBytes > _MAX_ANSWER_BYTES:
                self.abortConnection()

    def _whyEnded(self) -> Failure:
        fault = self._records.fault
        return Failure(ConnectionDone() if fault is None else fault)

    def _discard(self, data: bytes) -> None:
        """Looks for the peer's end in what comes behind ours."""
        self._discarded += len(data)
        if self._discarded > MAX_DISCARDED_BYTES:
            self.abortConnection()
            return
        records = self._records
        records.decrypt(data)
        # Nothing may follow our end.
        records.outgoing.read()
        if records.hasEnded:
            self._close()

    # ITransport, for the protocol above

    def write(self, data: bytes) -> None:
        """Encrypts bytes, and has the socket take them at once where it can."""
        if self._state <= _OPEN and not (self.disconnecting and self._producer is None):
            self.sender.write(data)

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """Writes buffers, one behind the other."""
        self.write(b"".join(iovec))

    def senderChanged(self) -> None:
        """The sending half takes more now, or does not any more."""
        if self._producer is not None:
            self._producer.regulate()
        if self.disconnecting:
            self._shutWhenWritten()

    def senderFailed(self) -> None:
        """Nothing can be encrypted any more."""
        self._continueSoon()

    def loseConnection(self) -> None:
        """Ends TLS behind all that was written, and TCP when the peer has ended, too, or its time is over."""
        if self.disconnecting:
            return
        self.disconnecting = True
        if self._state == _OPEN:
            self._shutWhenWritten()
        elif self._state == _SHAKING:
            if self.sender.isEmpty:
                # There is nothing to end yet.
                self._close()
            else:
                self._startTimer()

    def loseWriteConnection(self) -> None:
        """Ends the connection: TLS has no half."""
        self.loseConnection()

    def abortConnection(self) -> None:
        """Drops the connection at once."""
        if self._state != _TOLD:
            self._state = _CLOSED
        driverOf(self.transport).abort(self.transport)

    # The end

    def _shutWhenWritten(self) -> None:
        if self._state == _OPEN and self._producer is None and self.sender.isEmpty and not self._stops & _DELIVERING:
            self._shut()

    def _shut(self) -> None:
        """Sends our close_notify, and awaits the peer's, or the end of TCP."""
        self._state = _SHUT
        records = self._records
        records.end()
        self.sender.send(records.outgoing.read())
        if records.hasEnded:
            self._close()
            return
        if self._stops & _PAUSED:
            self.transport.resumeProducing()
        self._startTimer()

    def _startTimer(self) -> None:
        if self._closeSeconds is not None:
            self._ownTimer().start(self._closeSeconds, self.abortConnection)

    def _ownTimer(self) -> Timer:
        timer = self._timer
        if timer is None:
            self._timer = timer = Timer(self._reactor)
        return timer

    def _end(self, reason: Failure) -> None:
        """TLS has ended: the transport below gets rid of what it holds, and the protocol above is told."""
        self._close()
        self._tell(reason)

    def _close(self) -> None:
        """Closes the transport below; a peer that takes nothing of what that holds is not waited for."""
        self._state = _CLOSED
        self.sender.letGo()
        below = self.transport
        below.loseConnection()
        if not isStock(below):
            self._startTimer()
        elif below.connected:
            left = push(below)
            deadline = None if self._closeSeconds is None else self._reactor.seconds() + self._closeSeconds
            # A socket that took all is not said to be writable while the peer reads nothing.
            self._ownTimer().start(DRAIN_SECONDS if left else 0, self._drain, left, deadline)

    def _drain(self, before: int, deadline: float | None) -> None:
        left = push(self.transport)
        late = deadline is not None and self._reactor.seconds() >= deadline
        if left and left < before and not late:
            self._ownTimer().start(DRAIN_SECONDS, self._drain, left, deadline)
        else:
            # As the reactor does: what the system holds still arrives.
            self.transport.connectionLost(Failure(ConnectionDone()))

    def _tell(self, reason: Failure) -> None:
        """Tells the protocol above of the loss, once, and lets go of all."""
        if self._state == _TOLD:
            return
        self._state = _TOLD
        self.sender.lose()
        if self._continuation is not None:
            self._continuation.cancel()
            self._continuation = None
        producer, self._producer = self._producer, None
        protocol, self.protocol = self.protocol, None
        if producer is not None:
            producer.stop()
        try:
            protocol.connectionLost(reason)
        finally:
            # It is large, and a program may keep its connection's object.
            self._records = None

    def _tlsBelowEnded(self) -> None:
        """TLS of another kind, below, has ended: its transport waits for its producer, which is ours, to leave."""
        self._reactor.callLater(0, self.sender.letGo)

    # IPushProducer, for the protocol above

    def pauseProducing(self) -> None:
        """Delivers nothing more until `resumeProducing`."""
        if self._state <= _OPEN:
            self._stops |= _PAUSED
            self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Delivers again, what waits from the reactor's next turn on."""
        if self._state > _OPEN or not self._stops & _PAUSED:
            return
        self._stops &= ~_PAUSED
        if self._state == _OPEN and (self._records.isWaiting or self._records.hasEnded):
            self._continueSoon()
        else:
            self.transport.resumeProducing()

    def _continueSoon(self) -> None:
        if self._continuation is None:
            self._continuation = self._reactor.callLater(0, self._continue)

    def _continue(self) -> None:
        self._continuation = None
        self._proceed()
        if self._state == _OPEN and not self._stops & _PAUSED:
            self.transport.resumeProducing()

    def stopProducing(self) -> None:
        """Closes the connection; for those who hold it for a producer."""
        self.loseConnection()

    # IConsumer, for the protocol above

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Has a producer write at the pace of the socket; the connection closes when it has left.

        Raises:
            RuntimeError: there is one already.
        """
        if self._producer is not None:
            raise RuntimeError("another producer is registered: unregisterProducer() first")
        attached = Producer(producer, bool(streaming), self._reactor, self.sender, self._producerFailed)
        if self._state > _OPEN:
            attached.stop()
            return
        self._producer = attached
        attached.regulate()

    def unregisterProducer(self) -> None:
        """Leaves the producer to itself."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.detach()
        if self.disconnecting:
            self._shutWhenWritten()

    def _producerFailed(self, failure: Failure, callback: str) -> None:
        self._log.failure("a connection's producer failed in {callback}", failure, callback=callback)
        self.abortConnection()

    # Facts

    @property
    def isShaken(self) -> bool:
        """Whether the TLS handshake is done."""
        return self._records is not None and bool(self._records.isShaken)

    @property
    def hasAnswered(self) -> bool:
        """Whether the peer's first message was understood."""
        return self._records is not None and bool(self._records.hasAnswered)

    @property
    def sslObject(self) -> ssl.SSLObject | None:
        """The standard library's object, which knows the version and the cipher; None once the connection is lost."""
        return None if self._records is None else self._records.sslObject

    @property
    def bytesHeld(self) -> int | None:
        """How many bytes wait here, and in the transport below; None where that can't be known."""
        below = driverOf(self.transport).bytesHeld(self.transport)
        return None if below is None else below + self.sender.size

    @property
    def negotiatedProtocol(self) -> bytes | None:
        """The protocol that ALPN chose; None without one, and before the end of the TLS handshake."""
        chosen = None if self.sslObject is None else self.sslObject.selected_alpn_protocol()
        return None if chosen is None else chosen.encode("ascii")

    def getPeerCertificateDER(self) -> bytes | None:
        """Returns the certificate that the peer sent, in DER; None without one, and once the connection is lost."""
        return self.sslObject.getpeercert(True) if self.sslObject is not None and self.isShaken else None

    def getPeerCertificate(self) -> Any:
        """Returns the certificate that the peer sent, a ``cryptography.x509.Certificate``; None without one.

        Raises:
            ImportError: there is one, and the package cryptography is not installed.
        """
        encoded = self.getPeerCertificateDER()
        return None if encoded is None else loadCertificate(encoded)

    def getPeer(self) -> Any:
        """Returns the peer's address, an ``IAddress``."""
        return self.transport.getPeer()

    def getHost(self) -> Any:
        """Returns our address, an ``IAddress``."""
        return self.transport.getHost()

    def getTcpNoDelay(self) -> bool:
        """Whether small segments leave at once."""
        return bool(self.transport.getTcpNoDelay())

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Has small segments leave at once."""
        self.transport.setTcpNoDelay(enabled)

    def getTcpKeepAlive(self) -> bool:
        """Whether TCP probes an idle peer."""
        return bool(self.transport.getTcpKeepAlive())

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Has TCP probe an idle peer."""
        self.transport.setTcpKeepAlive(enabled)


DRIVERS[TLSLayer] = LAYER
