"""Which code `tests/mutants.py` puts faults into, which tests are to see them, and which faults no test can see."""

#: By "module", for all of its functions, or "module:function": the files with its tests, the quickest first.
GUARDED: dict[str, list[str]] = {
    "wsock.wire.turn": ["turn", "outbox", "broadcast", "hub"],
    "wsock.wire.hub": ["hub"],
    "wsock.wire.adoption": ["hub"],
    "wsock.wire.watch": ["watch", "protocol_keepalive"],
    "wsock.wire.transports": ["transports", "outbox", "protocol", "protocol_sending", "protocol_keepalive", "hub"],
    "wsock.wire.outbox": [
        "outbox",
        "protocol_sending",
        "broadcast",
        "protocol_receiving",
        "client",
        "protocol_keepalive",
        "garbage",
    ],
    "wsock.broadcast": ["broadcast", "arguments", "threads", "compression", "copies"],
    "wsock.compression": ["compression"],
    "wsock.wire.state": ["state"],
    "wsock.wire.timer": ["timer"],
    "wsock.wire.waiters": ["waiters"],
    "wsock.wire.producer": ["producer"],
    "wsock.wire.closewatch": ["closewatch"],
    "wsock.wire.keepalive": ["keepalive"],
    "wsock.wire.closing": ["closing"],
    "wsock.wire.inbox": [
        "inbox",
        "protocol_receiving",
        "protocol_keepalive",
        "protocol_sending",
        "protocol",
        "access",
        "server",
    ],
    "wsock.wire.inbox:Inbox.countDiscarded": ["stream"],
    "wsock.wire.protocol": [
        "reentrancy",
        "protocol_sending",
        "broadcast",
        "access",
        "protocol_keepalive",
        "protocol_receiving",
        "client",
        "stream",
        "protocol",
        "threads",
        "server",
        "state",
        "garbage",
        "resource",
    ],
    "wsock.wire.protocol:WebSocketTransport.__reduce__": ["copies"],
    "wsock.wire.protocol:WebSocketTransport.streamDiscards": ["stream"],
    "wsock.wire.protocol:WebSocketTransport.sendFromThread": ["integration/test_threads"],
    "wsock.reasons": ["reasons", "garbage"],
    "wsock.results": ["results"],
    "wsock.server.factory": ["server", "factory", "resource"],
    "wsock.server.factory:WebSocketServerFactory.__init__": ["arguments", "access", "server", "factory"],
    "wsock.server.factory:WebSocketServerFactory.connectionLost": ["access", "server", "resource"],
    "wsock.server.opening": ["server_opening", "server", "protocol", "access", "failures", "reentrancy", "resource"],
    "wsock.server.upgrade": ["resource"],
    "wsock.server.resource": ["resource"],
    "wsock.server.resource:WebSocketResource.__reduce__": ["copies"],
    "wsock.server.admission": ["admission", "routes"],
    "wsock.server.paths": ["paths"],
    "wsock.server.hosts": ["hosts"],
    "wsock.server.addresses": ["addresses"],
    "wsock.ratelimit": ["ratelimit"],
    "wsock.server.forwarding": ["forwarding"],
    "wsock.server.rules": ["routes", "arguments", "compression"],
    "wsock.server.routes": ["routes"],
    "wsock.server.routes:Route.wrap": ["auth"],
    "wsock.server.routes:Routes.wrap": ["auth"],
    "wsock.auth.guards": ["auth"],
    "wsock.auth.credentials": ["auth"],
    "wsock.auth.checks": ["auth"],
    "wsock.auth.cred": ["auth"],
    "wsock.auth.htpasswd": ["htpasswd"],
    "wsock.auth.checks:Passwords.__reduce__": ["copies"],
    "wsock.auth.checks:Tokens.__reduce__": ["copies"],
    "wsock.auth.htpasswd:HtpasswdFile.__reduce__": ["copies"],
    "wsock.login": ["auth"],
    "wsock.service.hosts": ["hosts"],
    "wsock.server.refusal": ["server", "access"],
    "wsock.server.accessrecord": ["access"],
    "wsock.logsummary": ["logsummary"],
    "wsock.log": ["log"],
    "wsock.client.factory": ["arguments", "factory", "client", "compression"],
    "wsock.client.opening": ["client_opening", "client", "protocol_sending", "protocol", "reentrancy"],
    "wsock.stream": ["stream", "garbage"],
    "wsock.stream:WebSocketStream.__reduce__": ["copies"],
    "wsock.stream:StreamHandler.__reduce__": ["copies"],
    "wsock.client.attempt": ["attempt", "client", "garbage"],
    "wsock.client.agent": ["arguments", "compression", "client", "stream", "tunnel"],
    "wsock.client.agent:Agent.__reduce__": ["copies"],
    "wsock.wire.factory": ["factory", "server", "client", "stream", "threads", "protocol"],
    "wsock.wire.factory:Connections.use": ["testing"],
    "wsock.wire.factory:ConnectionFactory.useReactor": ["testing"],
    "wsock.wire.factory:ConnectionFactory.ensureReactor": ["serve"],
    "wsock.wire.factory:ConnectionFactory.__reduce__": ["copies"],
    "wsock.wire.factory:Connections.__init__": ["arguments", "factory", "threads", "server", "client"],
    "wsock.client.lookup": ["lookup"],
    "wsock.client.environment": ["environment"],
    "wsock.client.proxy": ["proxy"],
    "wsock.client.socks": ["socks"],
    "wsock.client.httpconnect": ["httpconnect"],
    "wsock.client.tunnel": ["tunnel"],
    "wsock.client.verification": ["verification", "integration/test_verification", "integration/test_tls_failures"],
    "wsock.arguments": ["arguments", "settings"],
    "wsock.wire.threads": ["threads"],
    "wsock.wire.threads:sendFromThread": ["threads", "integration/test_threads"],
    "wsock.wire.threads:_sendForThread": ["threads", "integration/test_threads"],
    "wsock.wire.threads:_sendWhenWritable": ["threads", "integration/test_threads"],
    "wsock.wire.threads:_sendNow": ["threads", "integration/test_threads"],
    "wsock.wire.unopened": ["unopened"],
    "wsock.wire.tlsfailures": ["tlsfailures"],
    "wsock.wire.tls": ["tls", "tls_hostile"],
    "wsock.wire.tls:prepareContext": ["server_tls", "client_tls", "tls"],
    "wsock.wire.tlssending": ["tls"],
    "wsock.wire.tlsrecords": ["tlsrecords", "tls"],
    "wsock.wire.tlsdriver": ["tlsdriver", "tls"],
    "wsock.server.tls": ["server_tls"],
    "wsock.server.certificates": ["certificates", "server_tls"],
    "wsock.client.tls": ["client_tls"],
    "wsock.application": ["application", "arguments", "stream", "inbox", "copies"],
    "wsock.settings": ["settings", "arguments", "threads"],
    "wsock.errors": ["errors", "copies"],
    "wsock.request": ["request", "arguments", "server", "client", "resource"],
    "wsock.request:Request.__reduce__": ["copies"],
    "wsock.sansio.frames": ["frames", "messages", "copies"],
    "wsock.sansio.messages": ["messages", "frames", "connection", "compressed", "copies"],
    "wsock.sansio.assembler": ["assembler", "messages", "connection", "compressed", "copies"],
    "wsock.sansio.payloads": ["payloads", "connection"],
    "wsock.sansio.connection": ["connection", "compressed", "protocol_receiving", "copies"],
    "wsock.sansio.deflate": ["deflate", "compressed", "copies"],
    "wsock.sansio.shared": ["shared", "copies"],
    "wsock.sansio.handshake": ["handshake"],
    "wsock.sansio.http": ["http", "handshake"],
    "wsock.sansio.head": ["http", "handshake"],
    "wsock.sansio.body": ["body", "copies"],
    "wsock.sansio.extensions": ["extensions", "copies"],
    "wsock.sansio.url": ["url", "copies"],
    "wsock.sansio._masking_python": ["masking"],
    "wsock.testing.transport": ["testing", "arguments"],
}
GUARDED = {name: [f"tests/{'' if '/' in one else 'test_'}{one}.py" for one in tests] for name, tests in GUARDED.items()}

_SLOWER = "only slower, as other tests measure"
_EPOLL = "where the tests run systems have an epoll"
#: By function, what makes no difference that a test could see, and why.
EQUIVALENT: dict[str, dict[str, str]] = {
    "wsock.wire.turn:Turn.__init__": {
        "number: self.number = 0 -> self.number = 1": "only whether two are equal is asked",
    },
    "wsock.wire.turn:Turn._finish": {
        "force: not self.waiting -> False": _SLOWER,
    },
    "wsock.wire.turn:sharedTurn": {
        "operand: return _turns.get(id(reactor)) or _turns.setdefault(id(reactor), Turn(reactor)) -> return False or _turns.setdefault(id(reactor), Turn(reactor))": _SLOWER,
    },
    "wsock.wire.adoption:<module>": {
        "number: _LARGE_READ_BYTES: Final = 2 ** 18 -> _LARGE_READ_BYTES: Final = 2 ** 18 + 1": "one byte of 256 KiB",
    },
    "wsock.wire.hub:<module>": {
        "number: _SELECT_LIMIT: Final = 1024 -> _SELECT_LIMIT: Final = 1024 + 1": "one number of 1,024",
        "number: _IN: Final[int] = getattr(select, 'EPOLLIN', 1) -> _IN: Final[int] = getattr(select, 'EPOLLIN', 0)": _EPOLL,
        "number: _OUT: Final[int] = getattr(select, 'EPOLLOUT', 4) -> _OUT: Final[int] = getattr(select, 'EPOLLOUT', 4 + 1)": _EPOLL,
    },
    "wsock.wire.hub:Hub._add": {
        "force: waiting.get(number) is transport -> False": _SLOWER,
    },
    "wsock.wire.hub:Hub._remove": {
        "force: number == -1 -> True": _SLOWER,
        "number: number = next((number for number, other in waiting.items() if other is transport), -1) -> number = next((number for number, other in waiting.items() if other is transport), -0)": "no transport has the number 0 here",
    },
    "wsock.wire.hub:Hub._end": {
        "drop: self._epoll.close() -> pass": "CPython closes it as soon as nobody holds it",
    },
    "wsock.wire.hub:Hub.doRead": {
        "force: event != _IN or transport is None -> True": _SLOWER,
    },
    "wsock.wire.hub:hubOf": {
        "force: hub is None -> True": _SLOWER,
    },
    "wsock.wire.outbox:<module>": {
        "number: _MIN_LIMIT_BYTES: Final = 2 ** 20 -> _MIN_LIMIT_BYTES: Final = 2 ** 20 + 1": "a fraction of a message",
        "number: _MIN_MARK_BYTES: Final = 2 ** 16 -> _MIN_MARK_BYTES: Final = 2 ** 16 + 1": "a fraction of a message",
    },
    "wsock.wire.outbox:_mark": {
        "force: return Marked(message, kind) if kind else message -> return Marked(message, kind) if True else message": "only larger",
    },
    "wsock.wire.outbox:Outbox.isOverLimit": {
        "force: self.size <= limits.sendLimit -> False": _SLOWER,
        "compare: self.size <= limits.sendLimit -> self.size < limits.sendLimit": _SLOWER,
    },
    "wsock.wire.outbox:Outbox.write": {
        "force: sent != len(frame) -> True": "then nothing is left to keep",
        "operand: self.paused and self.isOverLimit -> True and self.isOverLimit": "what is not paused is flushed long before the limit",
    },
    "wsock.wire.outbox:Outbox.uncork": {
        "force: self.size or self._whenDrained is not None -> True": "flushes nothing",
    },
    "wsock.wire.outbox:Outbox._keepRest": {
        "force: sent -> True": "a frame of which nothing was sent begins in the flush that follows",
    },
    "wsock.wire.outbox:Outbox._trySocket": {
        "force: queue is not None and len(queue) == 1 and (len(queue[0]) == 1) and (not self._current) -> False": _SLOWER,
        "number: queue is not None and len(queue) == 1 and (len(queue[0]) == 1) and (not self._current) -> queue is not None and len(queue) == 0 and (len(queue[0]) == 1) and (not self._current)": _SLOWER,
        "number: queue is not None and len(queue) == 1 and (len(queue[0]) == 1) and (not self._current) -> queue is not None and len(queue) == 1 and (len(queue[0]) == 0) and (not self._current)": _SLOWER,
        "force: sent == self.size -> False": _SLOWER,
        "drop: return True -> pass": "takes nothing more, and returns the same",
        "number: return 0 < sent == given -> return 1 < sent == given": _SLOWER,
    },
    "wsock.wire.outbox:Outbox._waiting": {
        "force: self.size > JOIN_UP_TO_BYTES and buffers and (len(buffers) + len(message) > MAX_BUFFERS) -> False": _SLOWER,
        "compare: self.size > JOIN_UP_TO_BYTES and buffers and (len(buffers) + len(message) > MAX_BUFFERS) -> self.size >= JOIN_UP_TO_BYTES and buffers and (len(buffers) + len(message) > MAX_BUFFERS)": _SLOWER,
        "sign: self.size > JOIN_UP_TO_BYTES and buffers and (len(buffers) + len(message) > MAX_BUFFERS) -> self.size > JOIN_UP_TO_BYTES and buffers and (len(buffers) - len(message) > MAX_BUFFERS)": _SLOWER,
    },
    "wsock.wire.outbox:Outbox._handOver": {
        "number: left: int | None = 0 -> left: int | None = 1": "asked only where it was set since",
    },
    "wsock.wire.outbox:Outbox._takeBytes": {
        "compare: len(buffer) > count -> len(buffer) >= count": "an empty buffer more, which is passed over",
    },
    "wsock.wire.tlsrecords:Records.decrypt": {
        "force: self._missing or self._head or size < _HEAD_BYTES or (size != _HEAD_BYTES + (data[3] << 8 | data[4])) -> True": _SLOWER,
        "compare: self._missing or self._head or size < _HEAD_BYTES or (size != _HEAD_BYTES + (data[3] << 8 | data[4])) -> self._missing or self._head or size <= _HEAD_BYTES or (size != _HEAD_BYTES + (data[3] << 8 | data[4]))": _SLOWER,
        "sign: self._missing or self._head or size < _HEAD_BYTES or (size != _HEAD_BYTES + (data[3] << 8 | data[4])) -> self._missing or self._head or size < _HEAD_BYTES or (size != _HEAD_BYTES - (data[3] << 8 | data[4]))": _SLOWER,
        "operand: isWhole and (not self.hasEnded) -> isWhole and True": "OpenSSL reads nothing behind an end either",
    },
    "wsock.wire.tlsrecords:Records._cut": {
        "force: self._head -> True": _SLOWER,
        "drop#2: return -> pass": "OpenSSL fails at these bytes, and reads nothing behind them",
    },
    "wsock.wire.tlsrecords:Records.decryptMore": {
        "number: incoming, texts, size = (self.incoming, [], 0) -> incoming, texts, size = (self.incoming, [], 1)": "one byte",
    },
    "wsock.wire.tlssending:<module>": {
        "number: PORTION_BYTES: Final = 2 ** 17 -> PORTION_BYTES: Final = 2 ** 17 + 1": "one byte",
    },
    "wsock.wire.tlssending:Sender.writable": {
        "operand: return not self._blocked and self._waiting is None -> return not self._blocked and True": "text waits only in the handshake, or while the socket is full",
    },
    "wsock.wire.tlssending:Sender.write": {
        "force: not self._blocked and self._waiting is None and records.isShaken and (0 < len(data) <= PIECE_BYTES) -> False": _SLOWER,
        "operand: not self._blocked and self._waiting is None and records.isShaken and (0 < len(data) <= PIECE_BYTES) -> not self._blocked and True and records.isShaken and (0 < len(data) <= PIECE_BYTES)": "text waits only in the handshake, or while the socket is full",
        "compare: not self._blocked and self._waiting is None and records.isShaken and (0 < len(data) <= PIECE_BYTES) -> not self._blocked and self._waiting is None and records.isShaken and (0 <= len(data) <= PIECE_BYTES)": _SLOWER,
        "compare: not self._blocked and self._waiting is None and records.isShaken and (0 < len(data) <= PIECE_BYTES) -> not self._blocked and self._waiting is None and records.isShaken and (0 < len(data) < PIECE_BYTES)": _SLOWER,
        "number: not self._blocked and self._waiting is None and records.isShaken and (0 < len(data) <= PIECE_BYTES) -> not self._blocked and self._waiting is None and records.isShaken and (1 < len(data) <= PIECE_BYTES)": _SLOWER,
        "force: records.fault is not None and self._owner is not None -> False": "no test can have OpenSSL fail to encrypt",
        "operand: records.fault is not None and self._owner is not None -> True and self._owner is not None": "no test can have OpenSSL fail to encrypt",
        "operand: records.fault is not None and self._owner is not None -> records.fault is not None and True": "no test can have OpenSSL fail to encrypt",
        "force: data -> True": _SLOWER,
    },
    "wsock.wire.tlssending:Sender.proceed": {
        "force: self._owner is not None -> True": "its owner is there as long as it is called",
    },
    "wsock.wire.tlssending:Sender.finish": {
        "operand: self._waiting is not None and self._records.isShaken -> self._waiting is not None and True": "text waits only in the handshake, or while the socket is full",
    },
    "wsock.wire.tlssending:Sender.lose": {
        "drop: self._waiting = None -> pass": "only memory: nothing is sent or asked any more",
        "drop: self.size = 0 -> pass": "only memory: nothing is sent or asked any more",
        "number: self.size = 0 -> self.size = 1": "only memory: nothing is sent or asked any more",
    },
    "wsock.wire.tlssending:Sender._sendPortion": {
        "force: len(records) == 1 -> False": _SLOWER,
        "number: len(records) == 1 -> len(records) == 0": _SLOWER,
        "force: self._records.fault is not None and self._owner is not None -> False": "no test can have OpenSSL fail to encrypt",
        "operand: self._records.fault is not None and self._owner is not None -> True and self._owner is not None": "no test can have OpenSSL fail to encrypt",
        "operand: self._records.fault is not None and self._owner is not None -> self._records.fault is not None and True": "no test can have OpenSSL fail to encrypt",
    },
    "wsock.wire.tlssending:Sender.send": {
        "force: not data -> False": "a socket and a transport take nothing as well",
    },
    "wsock.wire.tlssending:Sender._sendAll": {
        "force: self._isStock and mayTrySocket(below) -> False": _SLOWER,
    },
    "wsock.wire.tlssending:Sender._hold": {
        "force: not self._blocked -> True": "says once more what is known",
    },
    "wsock.wire.tlssending:Sender.pauseProducing": {
        "force: self._owner is not None -> True": "its owner is there as long as it is registered",
    },
    "wsock.wire.tls:<module>": {
        "number: _SHUT: Final = 2 -> _SHUT: Final = 2 + 1": "as closed, but that bytes are looked at",
        "number: _TOLD: Final = 4 -> _TOLD: Final = 4 + 1": "it is the last",
    },
    "wsock.wire.tls:TLSLayer._answer": {
        "compare: self._answerBytes > _MAX_ANSWER_BYTES -> self._answerBytes >= _MAX_ANSWER_BYTES": "one byte",
        "force: answer -> True": _SLOWER,
        "number: self._answerBytes = 0 if self.sender.writable else self._answerBytes + len(answer) -> self._answerBytes = 1 if self.sender.writable else self._answerBytes + len(answer)": "one byte",
    },
    "wsock.wire.tls:TLSLayer._discard": {
        "compare: self._discarded > MAX_DISCARDED_BYTES -> self._discarded >= MAX_DISCARDED_BYTES": "one byte",
        "drop: return -> pass": "an aborted connection looks at some bytes more",
    },
    "wsock.wire.tls:TLSLayer.senderFailed": {
        "drop: self._continueSoon() -> pass": "no test can have OpenSSL fail to encrypt",
    },
    "wsock.wire.tls:TLSLayer.__init__": {
        "number: self._discarded = 0 -> self._discarded = 1": "one byte",
        "number: self._answerBytes = 0 -> self._answerBytes = 1": "one byte",
    },
    "wsock.wire.tls:TLSLayer.makeConnection": {
        "operand: not self._isServer and self._state == _SHAKING -> True and self._state == _SHAKING": _SLOWER,
    },
    "wsock.wire.tls:TLSLayer.dataReceived": {
        "force: records.outgoing.pending or records.hasEnded or self.disconnecting or records.isWaiting -> True": _SLOWER,
    },
    "wsock.wire.tls:TLSLayer._shutWhenWritten": {
        "operand: self._state == _OPEN and self._producer is None and self.sender.isEmpty and (not self._stops & _DELIVERING) -> self._state == _OPEN and self._producer is None and self.sender.isEmpty and True": "our end leaves within the delivery, and not right behind it",
    },
    "wsock.wire.tls:TLSLayer._close": {
        "force: below.connected -> True": "the loss that is under way stops the timer",
    },
    "wsock.wire.tls:TLSLayer._tell": {
        "drop: self._continuation = None -> pass": "only memory: it was cancelled, and nothing goes on any more",
    },
    "wsock.wire.tls:TLSLayer._continueSoon": {
        "force: self._continuation is None -> True": "goes on once more, with nothing to do",
    },
    "wsock.wire.tls:TLSLayer.getPeerCertificateDER": {
        "operand: return self.sslObject.getpeercert(True) if self.sslObject is not None and self.isShaken else None -> return self.sslObject.getpeercert(True) if True and self.isShaken else None": "without the object nothing is shaken; mypy does not know",
    },
    "wsock.wire.state:describe": {
        "number: zip(NAMES, NEXT, strict=True) -> zip(NAMES, NEXT, strict=False)": "both have as many, as the test of all pairs sees",
    },
    "wsock.server.factory:WebSocketServerFactory.connectionLost": {
        "operand: note is None or accessLog is None or (not transport.traffic.bytesReceived) -> note is None or False or (not transport.traffic.bytesReceived)": "there is a note only where there is an access log",
        "force: pending = None if result is None else asDeferred(result) -> pending = None if False else asDeferred(result)": _SLOWER,
    },
    "wsock.wire.factory:<module>": {
        "number: _raisedToBytes = 0 -> _raisedToBytes = 1": "less than any message",
    },
    "wsock.wire.factory:raiseTrimThreshold": {
        "compare: size > _raisedToBytes -> size >= _raisedToBytes": _SLOWER,
    },
    "wsock.wire.factory:Connections.stop": {
        "force: len(self) -> True": "without any connection the timer ends at once",
    },
    "wsock.wire.factory:Connections._abortIn": {
        "compare: self._graceEnd.getTime() <= clock.seconds() + seconds -> self._graceEnd.getTime() < clock.seconds() + seconds": "a new timer for the same time",
    },
    "wsock.wire.protocol:WebSocketTransport.openingDone": {
        "force: extensions -> True": "the core has none, either",
        "force: self._terms.settings.pingInterval is not None -> True": _SLOWER,
    },
    "wsock.wire.protocol:WebSocketTransport.openingEnded": {
        "drop: self._opening = None -> pass": "only memory: an opening that has ended does nothing at the loss",
        "drop: self._stopCloseWatch() -> pass": "only one look more, at a connection that has begun to end",
    },
    "wsock.wire.protocol:WebSocketTransport.outboxBlocked": {
        "force: self._inbox is not None -> True": "the transport has its producer while there is an inbox",
    },
    "wsock.wire.protocol:WebSocketTransport.outboxWritable": {
        "force: writers is not None -> True": _SLOWER,
        "force: not writers and self._writers is writers -> False": "only memory: an empty one does as much as None",
    },
    "wsock.wire.protocol:WebSocketTransport.abortConnection": {
        "force: not canAbort -> True": "a transport that is aborted has no use for a producer",
    },
    "wsock.wire.protocol:WebSocketTransport.factoryStops": {
        "operand: self._opening is not None and self._state == OPENING -> True and self._state == OPENING": "the factory knows none before its opening",
    },
    "wsock.wire.protocol:WebSocketTransport.inboxFailed": {
        "operand: self._opening is not None and self._state == OPENING -> True and self._state == OPENING": "it has one from its transport on",
    },
    "wsock.wire.protocol:WebSocketTransport.inboxExempt": {
        "operand: self._keepalive is not None and self._inbox is not None -> self._keepalive is not None and True": "it is the inbox that tells",
    },
    "wsock.wire.protocol:WebSocketTransport.inboxDelivers": {
        "force: self._closing is not None -> True": "the inbox tells only once our Close is queued",
    },
    "wsock.wire.protocol:WebSocketTransport.checkLiveness": {
        "operand: self._state != OPEN or keepalive is None or inbox is None -> self._state != OPEN or False or inbox is None": "it is the keepalive that is watched",
        "operand: self._state != OPEN or keepalive is None or inbox is None -> self._state != OPEN or keepalive is None or False": "an open connection has one",
    },
    "wsock.wire.protocol:WebSocketTransport._stopCloseWatch": {
        "drop: closeWatch, self._closeWatch = (self._closeWatch, None) -> closeWatch, _ = (self._closeWatch, None)": "only memory: stopping it again does nothing",
    },
    "wsock.wire.protocol:WebSocketTransport.groupLeft": {
        "force: self._groups is not None -> True": "a group tells only those that were in it",
        "drop: self._groups = self._groups or None -> pass": "only memory: an empty list does as much as None",
    },
    "wsock.wire.protocol:WebSocketTransport.openingHandedOn": {
        "drop: self._opening = None -> pass": "only memory: an opening that has ended does nothing at the loss",
        "drop: self._stopCloseWatch() -> pass": "only one look more, at a connection that is not ours",
    },
    "wsock.wire.keepalive:<module>": {
        "number: _PING_PREFIX: Final = os.urandom(8).hex().encode() -> _PING_PREFIX: Final = os.urandom(8 + 1).hex().encode()": "as hard to guess, and as short as need be",
    },
    "wsock.wire.keepalive:Keepalive.__init__": {
        "number: self._number = 0 -> self._number = 1": "only which of two is greater is asked",
        "number: self._grace: bool | None = False -> self._grace: bool | None = True": "asked only after it was set with a Ping",
        "number: self._taken = 0 -> self._taken = 1": "asked only after an earlier look has set it",
        "number: self._wasFull = False -> self._wasFull = True": "asked only after an earlier look has set it",
    },
    "wsock.wire.keepalive:Keepalive.check": {
        "drop: self._pingSentAt = None -> pass": "what it takes from a full buffer is life, whether it was asked or not",
    },
    "wsock.wire.watch:<module>": {
        "number: _MAX_DEAD_ENTRIES: Final = 64 -> _MAX_DEAD_ENTRIES: Final = 64 + 1": "only how often what is gone is looked for",
    },
    "wsock.wire.watch:_Check.__lt__": {
        "compare: return self.when < other.when -> return self.when <= other.when": "two checks of one time may be made in either order",
    },
    "wsock.wire.watch:Watch.reschedule": {
        "force: self._due[0] is check -> True": _SLOWER,
    },
    "wsock.wire.watch:Watch.remove": {
        "force: len(self._due) > self._most -> True": "only how often what is gone is looked for",
        "compare: len(self._due) > self._most -> len(self._due) >= self._most": "only how often what is gone is looked for",
        "drop: self._most = 2 * len(self._due) + _MAX_DEAD_ENTRIES -> pass": "only how often what is gone is looked for",
        "sign: self._most = 2 * len(self._due) + _MAX_DEAD_ENTRIES -> self._most = 2 * len(self._due) - _MAX_DEAD_ENTRIES": "only how often what is gone is looked for",
        "number: self._most = 2 * len(self._due) + _MAX_DEAD_ENTRIES -> self._most = (2 + 1) * len(self._due) + _MAX_DEAD_ENTRIES": "only how often what is gone is looked for",
    },
    "wsock.wire.watch:Watch._schedule": {
        "force: self._call.getTime() > self._reactor.seconds() + delay -> True": _SLOWER,
        "compare: self._call.getTime() > self._reactor.seconds() + delay -> self._call.getTime() >= self._reactor.seconds() + delay": _SLOWER,
        "sign: self._call.getTime() > self._reactor.seconds() + delay -> self._call.getTime() > self._reactor.seconds() - delay": _SLOWER,
    },
    "wsock.wire.watch:sharedWatch": {
        "operand: return _watches.get(id(reactor)) or _watches.setdefault(id(reactor), Watch(reactor)) -> return False or _watches.setdefault(id(reactor), Watch(reactor))": _SLOWER,
    },
    "wsock.wire.transports:<module>": {
        "caught: ImportError -> ()": "where the tests run systems have fcntl",
        "number: JOIN_UP_TO_BYTES: Final = 2 ** 15 -> JOIN_UP_TO_BYTES: Final = 2 ** 15 + 1": _SLOWER,
        "number: _JOIN_AVERAGE_BYTES: Final = 512 -> _JOIN_AVERAGE_BYTES: Final = 512 + 1": _SLOWER,
    },
    "wsock.wire.transports:trySocket": {
        "force: len(buffers) == 1 -> False": _SLOWER,
        "number: len(buffers) == 1 -> len(buffers) == 0": _SLOWER,
        "operand: given <= JOIN_UP_TO_BYTES or given < _JOIN_AVERAGE_BYTES * len(buffers) -> False or given < _JOIN_AVERAGE_BYTES * len(buffers)": _SLOWER,
        "operand: given <= JOIN_UP_TO_BYTES or given < _JOIN_AVERAGE_BYTES * len(buffers) -> given <= JOIN_UP_TO_BYTES or False": _SLOWER,
        "compare: given <= JOIN_UP_TO_BYTES or given < _JOIN_AVERAGE_BYTES * len(buffers) -> given < JOIN_UP_TO_BYTES or given < _JOIN_AVERAGE_BYTES * len(buffers)": _SLOWER,
        "compare: given <= JOIN_UP_TO_BYTES or given < _JOIN_AVERAGE_BYTES * len(buffers) -> given <= JOIN_UP_TO_BYTES or given <= _JOIN_AVERAGE_BYTES * len(buffers)": _SLOWER,
        "force: buffers = buffers[:MAX_BUFFERS if _SENDMSG else 1] -> buffers = buffers[:MAX_BUFFERS if True else 1]": _SLOWER,
        "force: return (stream.sendmsg(buffers) if _SENDMSG else stream.send(buffers[0]), given) -> return (stream.sendmsg(buffers) if True else stream.send(buffers[0]), given)": "where the tests run sockets have it",
    },
    "wsock.wire.transports:mayTrySocket": {
        "operand: may: bool = transport.connected and (not transport.TLS) and (not transport.disconnecting) and (not transport._writeDisconnecting) and (not transport.dataBuffer) and (not transport._tempDataBuffer) and (transport.producer is None or transport.streamingProducer) -> may: bool = transport.connected and (not transport.TLS) and (not transport.disconnecting) and (not transport._writeDisconnecting) and (not transport.dataBuffer) and (not transport._tempDataBuffer) and (False or transport.streamingProducer)": _SLOWER,
    },
    "wsock.wire.transports:queuedBySystem": {
        "number: queued: bytes = fcntl.ioctl(transport.fileno(), _OUTQ, bytes(4)) -> queued: bytes = fcntl.ioctl(transport.fileno(), _OUTQ, bytes(4 + 1))": "where the tests run a fifth byte is the greatest, and stays 0",
    },
    "wsock.wire.transports:stockBelowTLS": {
        "force: below = getattr(below, '_connection', below) if type(below) is _bypassTLS() else below -> below = getattr(below, '_connection', below) if True else below": "nothing else that TLS stands on has one",
    },
    "wsock.wire.transports:_addTLS": {
        "force: ended is not None -> True": "Twisted says it once",
        "drop: Telling.__name__ = Telling.__qualname__ = base.__name__ -> _ = Telling.__qualname__ = base.__name__": "only a name for people",
        "drop: Telling.__name__ = Telling.__qualname__ = base.__name__ -> Telling.__name__ = _ = base.__name__": "only a name for people",
    },
    "wsock.client.opening:ClientOpening._built": {
        "drop#2: return -> pass": "the failure has ended the opening handshake",
    },
    "wsock.client.opening:ClientOpening.lost": {
        "drop: building, self._building = (self._building, None) -> building, _ = (self._building, None)": "only memory: nobody asks for it again",
    },
    "wsock.wire.closing:<module>": {
        "number: DRAIN_SECONDS: Final = 0.1 -> DRAIN_SECONDS: Final = 0.1 + 1": "only how long a peer that has ended TLS may take nothing",
        "number: MAX_DISCARDED_BYTES: Final = 2 ** 24 -> MAX_DISCARDED_BYTES: Final = 2 ** 24 + 1": "one byte of 16 MiB",
    },
    "wsock.wire.closing:Closing.__init__": {
        "number: self._maxDiscarded = max(MAX_DISCARDED_BYTES, settings.maxMessageSize or 0) -> self._maxDiscarded = max(MAX_DISCARDED_BYTES, settings.maxMessageSize or 1)": "less than 16 MiB, too",
    },
    "wsock.wire.inbox:Inbox.__init__": {
        "number: self._waitsForPeer = False -> self._waitsForPeer = True": "set with the application, without which nothing is delivered",
        "number: self._reading = True -> self._reading = False": "set by the opening",
    },
    "wsock.wire.inbox:Inbox.open": {
        "force: unread -> True": _SLOWER,
    },
    "wsock.wire.inbox:Inbox._negotiate": {
        "force: len(waiting) == 1 -> False": _SLOWER,
        "force: waiting -> True": _SLOWER,
    },
    "wsock.wire.inbox:Inbox.drop": {
        "drop: self._unread = None -> pass": "only memory, until the loss",
    },
    "wsock.wire.inbox:Inbox.finish": {
        "drop: self._unread = None -> pass": "only memory, while somebody holds a callback that never ends",
    },
    "wsock.wire.inbox:Inbox.abandon": {
        "drop: pending, self._pending = (self._pending, None) -> pending, _ = (self._pending, None)": "only memory: nobody asks for it again",
    },
    "wsock.wire.inbox:Inbox._streamGone": {
        "drop: self.application = self._pending = None -> self.application = _ = None": "only memory",
    },
    "wsock.wire.inbox:Inbox._receiveLater": {
        "operand: not self._reading and self._unread is not None and (len(self._unread) >= _MAX_BYTES_AFTER_PAUSE) -> not self._reading and True and (len(self._unread) >= _MAX_BYTES_AFTER_PAUSE)": "`_keep` has just set it",
        "force: transport is not None -> True": "without one nothing is received",
    },
    "wsock.wire.inbox:Inbox._received": {
        "force: replies -> True": _SLOWER,
    },
    "wsock.wire.inbox:Inbox._deliver": {
        "operand: (self._stops != _DELIVERING or outbox.paused) and self._isBlocked() -> True and self._isBlocked()": _SLOWER,
        "operand: (self._stops != _DELIVERING or outbox.paused) and self._isBlocked() -> (self._stops != _DELIVERING or outbox.paused) and True": _SLOWER,
    },
    "wsock.wire.inbox:Inbox._peerIsNotReading": {
        "operand: return self._waitsForPeer and (not self._ended) and (self._transport is not None) and (self._core.close_sent is None) and (not self._outbox.writable) -> return self._waitsForPeer and True and (self._transport is not None) and (self._core.close_sent is None) and (not self._outbox.writable)": "the core has queued our Close by then",
    },
    "wsock.wire.inbox:Inbox._keep": {
        "force: not isinstance(self._unread, bytearray) -> True": _SLOWER,
        "force: not isinstance(self._unread, bytearray) -> False": _SLOWER,
    },
    "wsock.wire.inbox:Inbox._readAhead": {
        "operand: not self._ended and self._transport is not None and self._hasUnread() -> True and self._transport is not None and self._hasUnread()": "the core takes nothing in behind its end",
        "operand: not self._ended and self._transport is not None and self._hasUnread() -> not self._ended and True and self._hasUnread()": "nothing is answered after the loss",
    },
    "wsock.wire.inbox:Inbox._dispatch": {
        "force: result is not None -> True": _SLOWER,
    },
    "wsock.wire.inbox:Inbox.updateReading": {
        "operand: full = not paused and self._room() == 0 -> full = True and self._room() == 0": _SLOWER,
        "operand: reading = self._ended or self._core.close_sent is not None or (not (paused or full or self._unread is not None or self._peerIsNotReading())) -> reading = False or self._core.close_sent is not None or (not (paused or full or self._unread is not None or self._peerIsNotReading()))": "the core has queued our Close by then",
        "operand: reading = self._ended or self._core.close_sent is not None or (not (paused or full or self._unread is not None or self._peerIsNotReading())) -> reading = self._ended or self._core.close_sent is not None or (not (paused or full or False or self._peerIsNotReading()))": "is read on a turn earlier",
    },
    "wsock.wire.inbox:Inbox.dataReceived": {
        "operand: self._stops or self._unread is not None or self._events is not None or (outbox.paused and self._isBlocked()) -> self._stops or self._unread is not None or self._events is not None or (True and self._isBlocked())": _SLOWER,
        "force: len(events) == 1 and isinstance(events[0], (BinaryReceived, TextReceived)) and (not self._overflowed) -> False": _SLOWER,
        "force: core.has_unread_data or self._unread is not None -> True": _SLOWER,
        "operand: core.has_unread_data or self._unread is not None -> core.has_unread_data or False": "what came within a callback is delivered behind it, in another write",
        "force: self._events is not None or self._unread is not None or outbox.paused or (self._transport is None) or self._ended or core.has_unread_data -> True": _SLOWER,
        "operand: self._events is not None or self._unread is not None or outbox.paused or (self._transport is None) or self._ended or core.has_unread_data -> self._events is not None or self._unread is not None or outbox.paused or (self._transport is None) or False or core.has_unread_data": "the owner, which is told of the end, has it read",
        "element: len(events) == 1 and isinstance(events[0], (BinaryReceived, TextReceived)) and (not self._overflowed) -> len(events) == 1 and isinstance(events[0], (TextReceived,)) and (not self._overflowed)": _SLOWER,
        "element: len(events) == 1 and isinstance(events[0], (BinaryReceived, TextReceived)) and (not self._overflowed) -> len(events) == 1 and isinstance(events[0], (BinaryReceived,)) and (not self._overflowed)": _SLOWER,
    },
    "wsock.wire.threads:<module>": {
        "number: _POLL_SECONDS: Final = 1 -> _POLL_SECONDS: Final = 0": _SLOWER,
    },
    "wsock.wire.threads:sendFromThread": {
        "element: not isinstance(message, (str, bytes, bytearray, memoryview)) -> not isinstance(message, (str, bytearray, memoryview))": "then `binary_payload` lets it pass",
        "element: not isinstance(message, (str, bytes, bytearray, memoryview)) -> not isinstance(message, (str, bytes, memoryview))": "then `binary_payload` lets it pass",
        "element: not isinstance(message, (str, bytes, bytearray, memoryview)) -> not isinstance(message, (str, bytes, bytearray))": "then `binary_payload` lets it pass",
    },
    "wsock.sansio.deflate:Deflater.deflate": {
        "force: not payload -> False": _SLOWER,
    },
    "wsock.sansio.deflate:Inflater.__init__": {
        "number: self.has_more: bool = False -> self.has_more: bool = True": "asked only after data has set it",
    },
    "wsock.sansio.deflate:Inflater.inflate": {
        "force: self._rest -> True": _SLOWER,
        "number: self._last = data if len(data) > 3 else self._last[-3:] + data -> self._last = data if len(data) > 3 else self._last[-(3 + 1):] + data": "only longer than it need be",
        "force: self._last = data if len(data) > 3 else self._last[-3:] + data -> self._last = data if False else self._last[-3:] + data": _SLOWER,
        "number: self._last = data if len(data) > 3 else self._last[-3:] + data -> self._last = data if len(data) > 3 + 1 else self._last[-3:] + data": _SLOWER,
    },
    "wsock.sansio.extensions:_Asked.__init__": {
        "number: given[name] = 1 -> given[name] = 0": "only whether it is there is asked",
    },
    "wsock.sansio.frames:encode": {
        "force: length < 126 and final and (rsv1 == 0) -> False": _SLOWER,
    },
    "wsock.sansio.frames:MaskedFrameWriter.encode": {
        "force: length < 126 and final and (rsv1 == 0) -> False": _SLOWER,
    },
    "wsock.sansio.messages:MessageReader.read": {
        "force: self._data or self._head -> True": _SLOWER,
        "force: length < 126 and end <= size and (length <= payload) and (first == 130 or first == 129) -> False": _SLOWER,
    },
    "wsock.testing.transport:Network.__init__": {
        "number: self._ports = count(49152) -> self._ports = count(49152 + 1)": "any port is as good",
    },
    "wsock.testing.transport:Network._moveOnce": {
        "force: moved -> True": "no call is due",
    },
    "wsock.testing.transport:networkOf": {
        "operand: return _networks.get(id(clock)) or _networks.setdefault(id(clock), Network(clock)) -> return False or _networks.setdefault(id(clock), Network(clock))": _SLOWER,
    },
    "wsock.testing.transport:MemoryTransport.__init__": {
        "number: self.streamingProducer = self.producerPaused = False -> self.streamingProducer = self.producerPaused = True": "set with the producer, without which nobody asks",
        "number: self._writing = False -> self._writing = True": "one more round, in which nothing moves",
        "number: self._reading = False -> self._reading = True": "set by `join`",
    },
    "wsock.testing.transport:MemoryTransport.write": {
        "operand: not data or not self.connected or self._writeEnded -> False or not self.connected or self._writeEnded": "one more round, in which nothing moves",
    },
    "wsock.testing.transport:MemoryTransport.loseConnection": {
        "operand: self.connected and (not self.disconnecting) -> self.connected and True": "asks once more for the same",
    },
    "wsock.testing.transport:MemoryTransport._write": {
        "number: return False -> return True": "something was read, which is a move",
        "drop: return False -> pass": "one more round, in which nothing moves",
        "number#3: return False -> return True": "one more round, in which nothing moves",
        "drop#2: return False -> pass": "one more round, in which nothing moves",
        "number#4: return False -> return True": "one more round, in which nothing moves",
    },
    "wsock.application:Accept.__post_init__": {
        "force: self.headers != () -> True": _SLOWER,
    },
    "wsock.application:Refuse.__init__": {
        "force: self.headers = headers if headers == () else tuple(check_fields(headers)) -> self.headers = headers if False else tuple(check_fields(headers))": _SLOWER,
    },
    "wsock.client.factory:_LoggedOpenings.secondsLeft": {
        "force: return None if factory is None else factory.settings.openTimeout -> return None if False else factory.settings.openTimeout": "a connection that asks holds its factory",
    },
    "wsock.client.factory:_LoggedOpenings.failed": {
        "operand: factory is None or transport is None -> False or transport is None": "a connection that tells holds its factory",
    },
    "wsock.server.upgrade:Upgrade.refused": {
        "drop: waiting, webRequest.notifications = (webRequest.notifications, []) -> waiting, _ = (webRequest.notifications, [])": "nothing fires them again",
    },
    "wsock.server.upgrade:Upgrade.lost": {
        "drop: webRequest, self._held = (self.webRequest, None) -> webRequest, _ = (self.webRequest, None)": "only memory: the loss comes once",
    },
    "wsock.server.upgrade:takeTransport": {
        "drop: held, channel._dataBuffer = (channel._dataBuffer, []) -> held, _ = (channel._dataBuffer, [])": "only memory: the channel reads nothing any more",
        "drop: break -> pass": "the channel is told nothing any more, whatever its methods",
        "drop#2: break -> pass": "the channel is told nothing any more, whatever its methods",
        "drop: channel.dataReceived, channel.connectionLost = (protocol.dataReceived, protocol.connectionLost) -> _, channel.connectionLost = (protocol.dataReceived, protocol.connectionLost)": _SLOWER,
    },
    "wsock.server.accessrecord:makeRecord": {
        "operand: isinstance(error, WebSocketClosed) and first is not None -> isinstance(error, WebSocketClosed) and True": "who has closed has a Close",
        "force: code = error.code if isinstance(error, WebSocketDropped) else None -> code = error.code if True else None": "the other reason that a loss may have",
    },
    "wsock.server.refusal:invalid": {
        "operand: error.status not in (414, 431) or setting is None -> error.status not in (414, 431) or False": "each of these has a setting",
    },
    "wsock.logsummary:Summary.__init__": {
        "number: self._written = 0 -> self._written = 1": "set by the first line",
    },
    "wsock.client.lookup:_Resolver.resolveHostName": {
        "returned: return resolution -> return None": "asked for by the interface; Twisted's endpoint has no use for it",
    },
    "wsock.client.lookup:_Reactor.installNameResolver": {
        "drop: raise RuntimeError('install it in the reactor') -> pass": "asked for by the interface; nobody calls it",
    },
    "wsock.client.agent:Agent.__init__": {
        "force: self._headers or self._subprotocols -> True": _SLOWER,
    },
    "wsock.request:getPeerCertificate": {
        "drop: return None -> pass": "None, too",
    },
    "wsock.broadcast:Group.sendTextMessage": {
        "force: not isinstance(text, str) -> True": _SLOWER,
    },
    "wsock.broadcast:Group._send": {
        "force: self._thread is not None -> True": _SLOWER,
    },
    "wsock.arguments:<module>": {
        "force: sys.version_info >= (3, 14) -> False": "where the tests run Python is older",
        "compare: sys.version_info >= (3, 14) -> sys.version_info > (3, 14)": "where the tests run Python is older",
        "element: sys.version_info >= (3, 14) -> sys.version_info >= (14,)": "where the tests run Python is older",
        "number: sys.version_info >= (3, 14) -> sys.version_info >= (3 + 1, 14)": "where the tests run Python is older",
        "number: sys.version_info >= (3, 14) -> sys.version_info >= (3, 14 + 1)": "where the tests run Python is older",
    },
    "wsock.arguments:checkBuildApplication": {
        "force: isinstance(build, FunctionType) and build.__name__ == '<lambda>' and (build.__code__.co_argcount == 1) -> False": _SLOWER,
    },
    "wsock.log:printable": {
        "force: return text if text.isprintable() else ''.join((letter if letter.isprintable() else '?' for letter in text)) -> return text if False else ''.join((letter if letter.isprintable() else '?' for letter in text))": _SLOWER,
    },
    "wsock.client.verification:_isFor": {
        "force: not name.isascii() -> False": "cryptography raises at any other name",
    },
    "wsock.sansio.body:BodyDecoder.__init__": {
        "compare: not self._is_chunked and len(lengths) == 1 and lengths[0].isdecimal() and (len(lengths[0]) < 10) -> not self._is_chunked and len(lengths) == 1 and lengths[0].isdecimal() and (len(lengths[0]) <= 10)": "more than any limit",
        "number: not self._is_chunked and len(lengths) == 1 and lengths[0].isdecimal() and (len(lengths[0]) < 10) -> not self._is_chunked and len(lengths) == 1 and lengths[0].isdecimal() and (len(lengths[0]) < 10 + 1)": "more than any limit",
    },
    "wsock.sansio.body:BodyDecoder.decode": {
        "operand: not self.has_ended and self._decode_chunk() -> True and self._decode_chunk()": "a body that is full takes no more of the chunks behind",
    },
    "wsock.sansio.body:BodyDecoder._decode_chunk": {
        "drop: return not self._in_chunk -> pass": "the size of the next chunk is read at once",
        "compare: (len(unread) if end < 0 else end) > _MAX_SIZE_LINE_BYTES -> (len(unread) if end <= 0 else end) > _MAX_SIZE_LINE_BYTES": "a line without a size ends the body as well",
        "number: (len(unread) if end < 0 else end) > _MAX_SIZE_LINE_BYTES -> (len(unread) if end < 1 else end) > _MAX_SIZE_LINE_BYTES": "a line without a size ends the body as well",
        "drop: return False -> pass": "nothing is asked for once it has ended",
        "number: return False -> return True": "the loop asks whether it has ended",
        "number#3: return False -> return True": "the loop asks whether it has ended",
    },
    "wsock.sansio.connection:Connection.__init__": {
        "force: extensions -> True": "only memory: an empty list in place of none",
    },
    "wsock.sansio.connection:Connection.receive_data": {
        "force: piece = data if type(data) is bytes else binary_payload(data) -> piece = data if False else binary_payload(data)": _SLOWER,
        "compare: max_messages is not None and max_messages < count -> max_messages is not None and max_messages <= count": "the same number",
        "force: not self.eof -> False": _SLOWER,
    },
    "wsock.sansio.connection:Connection.send_text": {
        "force: compress is not None -> True": _SLOWER,
    },
    "wsock.sansio.connection:Connection.send_binary": {
        "force: compress is not None -> True": _SLOWER,
    },
    "wsock.sansio.extensions:decode": {
        "force: position = position if empty is None else empty.end() -> position = position if False else empty.end()": "the pattern fits anywhere",
    },
    "wsock.sansio.extensions:_is_answer": {
        "number: asked.server_bits and (not 0 < agreed.server_bits <= asked.server_bits) -> asked.server_bits and (not 1 < agreed.server_bits <= asked.server_bits)": "no window has one bit",
    },
    "wsock.sansio.frames:<module>": {
        "force: _SHORT_HEADS: Final = [_head(128 | i >> 7, i & 127, 0) if i & 127 < 126 else b'' for i in range(16 << 7)] -> _SHORT_HEADS: Final = [_head(128 | i >> 7, i & 127, 0) if True else b'' for i in range(16 << 7)]": "no length of a short frame finds these",
        "compare: _SHORT_HEADS: Final = [_head(128 | i >> 7, i & 127, 0) if i & 127 < 126 else b'' for i in range(16 << 7)] -> _SHORT_HEADS: Final = [_head(128 | i >> 7, i & 127, 0) if i & 127 <= 126 else b'' for i in range(16 << 7)]": "no length of a short frame finds these",
        "number: _SHORT_HEADS: Final = [_head(128 | i >> 7, i & 127, 0) if i & 127 < 126 else b'' for i in range(16 << 7)] -> _SHORT_HEADS: Final = [_head(128 | i >> 7, i & 127, 0) if i & 127 < 126 + 1 else b'' for i in range(16 << 7)]": "no length of a short frame finds these",
        "number: _SHORT_HEADS: Final = [_head(128 | i >> 7, i & 127, 0) if i & 127 < 126 else b'' for i in range(16 << 7)] -> _SHORT_HEADS: Final = [_head(128 | i >> 7, i & 127, 0) if i & 127 < 126 else b'' for i in range(16 << 7 + 1)]": "no opcode finds these",
    },
    "wsock.sansio.frames:FrameReader._check_first": {
        "compare: first < 128 -> first <= 128": "the first byte of a control frame has an opcode",
        "number: first < 128 -> first < 128 + 1": "the first byte of a control frame has an opcode",
    },
    "wsock.sansio.frames:FrameReader.__init__": {
        "number: self.opcode: i64 = 0 -> self.opcode: i64 = 1": "asked only after a head has set it",
        "number: self.final: bool = False -> self.final: bool = True": "asked only after a head has set it",
        "number: self.length: i64 = 0 -> self.length: i64 = 1": "asked only after a head has set it",
        "number: self.compressed: bool = False -> self.compressed: bool = True": "asked only after a head has set it",
    },
    "wsock.sansio._masking_python:<module>": {
        "number: _SHORT_BYTES: Final = 125 -> _SHORT_BYTES: Final = 125 + 1": _SLOWER,
        "number: _ONES: Final = [sum((1 << 32 * word for word in range(words))) for words in range((_SHORT_BYTES + 7) // 4 + 1)] -> _ONES: Final = [sum((1 << 32 * word for word in range(words))) for words in range((_SHORT_BYTES + (7 + 1)) // 4 + 1)]": "only longer than it need be",
    },
    "wsock.sansio._masking_python:unmask": {
        "force: size <= _SHORT_BYTES -> False": _SLOWER,
        "compare: size <= _SHORT_BYTES -> size < _SHORT_BYTES": _SLOWER,
        "number: words = (size + 7) // 4 -> words = (size + (7 + 1)) // 4": "only longer than it need be, and cut to size",
        "drop: return (number ^ (number & 4294967295) * _ONES[words]).to_bytes(words * 4, 'little')[4:size + 4] -> pass": _SLOWER,
        "number: return (number ^ (number & 4294967295) * _ONES[words]).to_bytes(words * 4, 'little')[4:size + 4] -> return (number ^ (number & 4294967295) * _ONES[words]).to_bytes(words * (4 + 1), 'little')[4:size + 4]": "only longer than it need be, and cut to size",
        "drop: return data[start:end] -> pass": _SLOWER,
        "force: size > _SLICE_BYTES -> False": _SLOWER,
        "drop: return buffer.take() -> pass": _SLOWER,
        "number: pattern = (key * ((size + 3) // 4))[:size] -> pattern = (key * ((size + (3 + 1)) // 4))[:size]": "only longer than it need be, and cut to size",
    },
    "wsock.sansio._masking_python:PayloadBuffer.extend": {
        "compare: end - start > _SLICE_BYTES -> end - start >= _SLICE_BYTES": _SLOWER,
    },
    "wsock.sansio._masking_python:PayloadBuffer.__setstate__": {
        "number: self.extend(payload, 0, len(payload), b'', 0, len(payload)) -> self.extend(payload, 0, len(payload), b'', 1, len(payload))": "without a mask its place makes no difference",
    },
    "wsock.sansio.payloads:binary_payload": {
        "force: type(data) is bytes -> False": _SLOWER,
    },
    "wsock.sansio.messages:<module>": {
        "number: _DEFLATED_SLICE_BYTES: Final = 16384 -> _DEFLATED_SLICE_BYTES: Final = 16384 + 1": _SLOWER,
    },
    "wsock.sansio.assembler:<module>": {
        "number: SLICE_BYTES: Final = 65536 -> SLICE_BYTES: Final = 65536 + 1": _SLOWER,
        "number: _STEP_BYTES: Final = 2 ** 20 -> _STEP_BYTES: Final = 2 ** 20 + 1": _SLOWER,
    },
    "wsock.sansio.assembler:Assembler.add": {
        "force: stop = end if end - start <= SLICE_BYTES else start + SLICE_BYTES -> stop = end if True else start + SLICE_BYTES": "only memory, as other tests measure",
        "compare: stop = end if end - start <= SLICE_BYTES else start + SLICE_BYTES -> stop = end if end - start < SLICE_BYTES else start + SLICE_BYTES": _SLOWER,
        "number: self._payload.extend(piece, 0, len(piece), b'', 0, most) -> self._payload.extend(piece, 0, len(piece), b'', 1, most)": "without a mask its place makes no difference",
    },
    "wsock.sansio.assembler:Assembler._take": {
        "number: self._payload.extend(piece, 0, len(piece), b'', 0, most) -> self._payload.extend(piece, 0, len(piece), b'', 1, most)": "without a mask its place makes no difference",
    },
    "wsock.sansio.assembler:Assembler.__setstate__": {
        "number: self._payload.extend(payload, 0, len(payload), b'', 0, len(payload)) -> self._payload.extend(payload, 0, len(payload), b'', 1, len(payload))": "without a mask its place makes no difference",
    },
}
