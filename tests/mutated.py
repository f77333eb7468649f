"""Which code `tests/mutants.py` puts faults into, which tests are to see them, and which faults no test can see."""

#: By "module", for all of its functions, or "module:function": the files with its tests, the quickest first.
GUARDED: dict[str, list[str]] = {
    "wsock.turn": ["outgoing", "broadcast"],
    "wsock.watch": ["watch", "keepalive"],
    "wsock.transports": ["outgoing", "protocol", "sending", "keepalive", "integration/test_tls_ends"],
    "wsock.outgoing": ["sending", "broadcast", "delivery", "outgoing", "client", "keepalive"],
    "wsock.broadcast": ["broadcast"],
    "wsock.delivery": ["delivery", "keepalive", "sending", "protocol", "server"],
    "wsock.sending": ["sending", "delivery", "protocol", "client"],
    "wsock.keepalive": ["keepalive", "sending", "protocol"],
    "wsock.protocol": ["keepalive", "sending", "delivery", "protocol", "client", "server"],
    "wsock.server": ["server", "protocol"],
    "wsock.client": ["client", "sending", "protocol"],
    "wsock.stream": ["stream"],
    "wsock.attempt": ["client"],
    "wsock.connecting": ["client", "stream"],
    "wsock.factory": ["factory", "server", "client", "protocol"],
    "wsock.lookup": ["lookup"],
    "wsock.verification": ["verification"],
    "wsock.contract": ["contract", "copies"],
    "wsock.request": ["request", "server"],
    "wsock.sansio.frames": ["frames", "messages"],
    "wsock.sansio.messages": ["messages", "frames", "connection"],
    "wsock.sansio.connection": ["connection", "delivery"],
    "wsock.sansio.handshake": ["handshake"],
    "wsock.sansio.http": ["http", "handshake"],
    "wsock.sansio.body": ["body"],
    "wsock.sansio.extensions": ["extensions"],
    "wsock.sansio.url": ["url"],
    "wsock.sansio._masking_python": ["masking"],
    "wsock.testing.transport": ["testing"],
}
GUARDED = {name: [f"tests/{'' if '/' in one else 'test_'}{one}.py" for one in tests] for name, tests in GUARDED.items()}

#: By function, what makes no difference that a test could see, and why.
EQUIVALENT: dict[str, dict[str, str]] = {}
