"""Takes away each guard of the way out and each step of the farewell in turn, and expects a red suite.

Run by `.ci/release mutants` in a source tree: `python tests/mutants.py [WORD...]`, where the words choose the mutants
whose file or name has one of them. Each is an exact replacement in a copy of the tree; one that does not match exactly
once is a failure, so that the list can't fall behind the code.
"""

import os
import queue
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORKERS = 2
#: In seconds, for one run of a part of the suite; a mutant that hangs is found out, too.
TIMEOUT = 600


@dataclass
class Mutant:
    """A fault to put in.

    Attributes:
        name: what is taken away.
        old: the text that stands once in the file.
        new: what stands in its place.
    """

    name: str
    old: str
    new: str = ""


#: Which tests are to turn red, the fastest first; each entry is one run.
OUTGOING_TESTS = [
    "tests/test_outgoing.py",
    "tests/test_broadcast.py",
    "tests/test_sending.py",
    "tests/test_client.py",
    "tests/test_keepalive.py",
]
PROTOCOL_TESTS = [
    "tests/test_keepalive.py",
    "tests/test_sending.py",
    "tests/test_server.py",
    "tests/test_access.py",
    "tests/test_failures.py",
    "tests/test_protocol.py",
    "tests/test_delivery.py",
    "tests/integration/test_ways_out.py",
    "tests/integration/test_probes.py",
]
CLIENT_TESTS = ["tests/test_client.py", "tests/test_sending.py"]

TURN = [
    Mutant(
        "turn: ends",
        "        self._call = None\n        self.number += 1\n        waiting",
        "        self._call = None\n        waiting",
    ),
    Mutant(
        "turn: is shared",
        "        if self._call is None:\n            self._call",
        "        if True:\n            self._call",
    ),
    Mutant("turn: flushes", "                outgoing.flush()\n", "                pass\n"),
    Mutant("turn: one does not hold up others", "            except CAUGHT:", "            except KeyError:"),
    Mutant("turn: is left", "        self.waiting.pop(outgoing, None)\n"),
    Mutant("turn: others wait on", "if self._call is not None and not self.waiting:", "if self._call is not None:"),
    Mutant("turn: is cancelled", "            self._call.cancel()\n"),
    Mutant(
        "turn: begins anew",
        "            self._call = None\n            self.number += 1\n",
        "            self._call = None\n",
    ),
    Mutant(
        "turn: lets its reactor go", "WeakValueDictionary[int, Turn] = WeakValueDictionary()", "dict[int, Turn] = {}"
    ),
]

OUTGOING = [
    # The guards of the eager path
    Mutant("eager: exact type", "type(transport) in _STOCK", "isinstance(transport, tuple(_STOCK))"),
    Mutant("eager: type, not attributes", "type(transport) in _STOCK", 'hasattr(transport, "writeSomeData")'),
    Mutant("eager: TLS from the start", " in _STOCK and not transport.TLS", " in _STOCK"),
    Mutant("eager: not for other transports", "            self._stock\n            and ", "            "),
    Mutant("eager: connected", "            and transport.connected\n"),
    Mutant("eager: TLS from later on", "            and not transport.TLS\n"),
    Mutant("eager: disconnecting", "            and not transport.disconnecting\n"),
    Mutant("eager: _writeDisconnecting", "            and not transport._writeDisconnecting\n"),
    Mutant("eager: dataBuffer", "            and not transport.dataBuffer\n"),
    Mutant("eager: _tempDataBuffer", "            and not transport._tempDataBuffer\n"),
    Mutant("eager: pull producer", "            and (transport.producer is None or transport.streamingProducer)\n"),
    Mutant("eager: taken at all", "self._stock = isStock(transport)", "self._stock = False"),
    Mutant("eager: tcp.Server", "= {tcp.Server, tcp.Client}", "= {tcp.Client}"),
    Mutant("eager: tcp.Client", "= {tcp.Server, tcp.Client}", "= {tcp.Server}"),
    Mutant("eager: unix.Server", "|= {unix.Server, unix.Client}", "|= {unix.Client}"),
    Mutant("eager: unix.Client", "|= {unix.Server, unix.Client}", "|= {unix.Server}"),
    Mutant("abort: message", "        if self._aborted:\n            return True\n"),
    Mutant(
        "abort: control frame",
        "        if self._aborted:\n            return\n        self._append",
        "        self._append",
    ),
    Mutant(
        "abort: drained",
        "        if self._aborted:\n            return\n        self._drained = drained",
        "        self._drained = drained",
    ),
    Mutant("abort: flag", "        self._aborted = True\n"),
    Mutant(
        "abort: forgets drained",
        "        self._drained = None\n        self._begun = []\n",
        "        self._begun = []\n",
    ),
    Mutant(
        "abort: drops the message begun",
        "        self._begun = []\n        self.dropQueue()",
        "        self.dropQueue()",
    ),
    Mutant("abort: drops the queue", "        self.dropQueue()\n"),
    Mutant("abort: leaves the turn", "        self._turn.leave(self)\n"),
    # What becomes of a partial send
    Mutant("rest: what was sent is taken off", "        self._take(sent)\n"),
    Mutant("rest: handed to the transport", "return 0 < sent == given", "return True"),
    Mutant("rest: pauses", "self._transport.producerPaused = self.paused = True", "pass"),
    Mutant(
        "rest: pauses, and the transport knows",
        "self._transport.producerPaused = self.paused = True",
        "self.paused = True",
    ),
    Mutant(
        "rest: pauses only a registered producer",
        "if self._registered:\n                    #",
        "if True:\n                    #",
    ),
    Mutant(
        "rest: errors stay inside", "except OSError:\n            # Full", "except BlockingIOError:\n            # Full"
    ),
    Mutant(
        "at once: errors stay inside",
        "except OSError:\n                sent = 0",
        "except BlockingIOError:\n                sent = 0",
    ),
    Mutant(
        "at once: the rest goes the usual way",
        "                self._keepRest(message, sent)\n",
        "                pass\n",
    ),
    Mutant("at once: only the rest", "memoryview(frame)[sent:]", "memoryview(frame)"),
    Mutant("at once: not past what waits", "not (self.size or self._corked", "not (self._corked"),
    Mutant("at once: not while corked", "(self.size or self._corked or self.paused)", "(self.size or self.paused)"),
    Mutant("at once: not while paused", "(self.size or self._corked or self.paused)", "(self.size or self._corked)"),
    Mutant("at once: once a turn", "            and self._turnNumber != self._turn.number\n"),
    Mutant("at once: whole messages", "            and len(message) == 1\n"),
    Mutant(
        "at once: with all guards",
        "            and len(message) == 1\n            and self._mayTrySocket()\n",
        "            and len(message) == 1\n",
    ),
    Mutant(
        "at once: the turn is remembered",
        "self._turnNumber = self._turn.begin()\n            frame",
        "self._turn.begin()\n            frame",
    ),
    Mutant(
        "at once: taken", "            self.handed += sent\n            if sent != len", "            if sent != len"
    ),
    Mutant("rest: a portion at a time", "self._take(_HANDOVER)", "self._take(self.size)"),
    Mutant("rest: more than the transport's own mark", "_HANDOVER: Final = 2**16 + 1", "_HANDOVER: Final = 2**16"),
    Mutant("rest: bytes", 'portion = b"".join(self._take(_HANDOVER))', "portion = self._take(_HANDOVER)[0]"),
    Mutant("rest: not copied", "view = memoryview(buffer)", "view = bytes(buffer)"),
    Mutant("large: not joined", "given <= _JOIN or", "True or"),
    Mutant("large: sendmsg", '_SENDMSG: Final = hasattr(socket.socket, "sendmsg")', "_SENDMSG: Final = False"),
    Mutant("many: an attempt does not look at all", "len(message) > _BUFFERS", "len(message) > 10**9"),
    Mutant("large: nor in one message", "buffers[: _BUFFERS if _SENDMSG", "buffers[: 10**9 if _SENDMSG"),
    Mutant("one frame: alone", "queue is not None and len(queue) == 1 and len(queue[0]) == 1", "len(queue[0]) == 1"),
    Mutant("one frame: whole", "len(queue) == 1 and len(queue[0]) == 1", "len(queue) == 1"),
    Mutant("one frame: behind nothing", " and not self._begun:\n                # What", ":\n                # What"),
    Mutant("small: joined however many", "if self.size > _JOIN and buffers and", "if buffers and"),
    # Cork and turn
    Mutant("cork", "        self._corked = True\n"),
    Mutant("cork: flushed", "        if self.size or self._drained is not None:\n            self.flush()\n"),
    Mutant("cork: drained", "        if self.size or self._drained is not None:\n", "        if self.size:\n"),
    Mutant("cork: up to the mark", "if self.size >= self._corkLimit or", "if"),
    Mutant("cork: not too many messages", " or len(self._queue or ()) > _CORKED", ""),
    Mutant("cork: exactly", "if self.size >= self._corkLimit or", "if self.size > self._corkLimit or"),
    Mutant("cork: up to sendLimit", "highWaterMark, self._sendLimit)", 'highWaterMark, float("inf"))'),
    Mutant(
        "cork: not without bound",
        "min(_CORK if highWaterMark is None",
        "min(self._highWaterMark if highWaterMark is None",
    ),
    Mutant(
        "cork: holds control frames",
        "        if not self._corked:\n            self.flush()\n\n    def writePongs",
        "        self.flush()\n\n    def writePongs",
    ),
    Mutant(
        "cork: holds drained",
        "        if not self._corked:\n            self.flush()\n\n    def abort",
        "        self.flush()\n\n    def abort",
    ),
    Mutant(
        "cork: holds on resume",
        "        if not self._corked:\n            self.flush()\n        if self.writable",
        "        self.flush()\n        if self.writable",
    ),
    Mutant("turn: the second waits", "elif self._turnNumber != self._turn.number:", "elif True:"),
    Mutant("turn: the first does not", "elif self._turnNumber != self._turn.number:", "elif False:"),
    Mutant(
        "turn: is remembered",
        "self._turnNumber = self._turn.begin()\n            self.flush()",
        "self._turn.begin()\n            self.flush()",
    ),
    Mutant("turn: not for other transports", "        elif not self._stock:\n            self.flush()\n"),
    Mutant("turn: not while paused", "elif self._corked or self.paused:", "elif self._corked:"),
    # The queue and its limits
    Mutant("limit", "                return False\n            self._dropOldest()", "                pass\n"),
    Mutant(
        "limit: exactly",
        "self.paused and self.isOverLimit",
        "self.paused and self.unsent >= self._sendLimit",
    ),
    Mutant("limit: the first message is free", "self.size - first > self._sendLimit", "self.size > self._sendLimit"),
    Mutant("limit: also when it has not begun", "self._begun or queue[0]", "self._begun"),
    Mutant("limit: of tiny messages", " or len(queue) > self._countLimit", ""),
    Mutant("drop: the oldest", "            self._dropOldest()\n"),
    Mutant("drop: no more than it has to", "while queue and self.isOverLimit:", "while queue:"),
    Mutant("drop: not what the protocol says", "            if _mayBeDropped(message):", "            if True:"),
    Mutant("drop: keeps that", "            queue.extendleft(reversed(kept))\n"),
    Mutant("drop: counts", "                self.dropped += _isData(message)\n"),
    Mutant("drop: takes it off", "                self.size -= sum(map(len, message))\n"),
    Mutant("drop: Pings too", "return _isData(message) or message[0][0] & 0x0F == PING", "return _isData(message)"),
    Mutant("limit: counts the transport", "return self.size + _held(self._transport)", "return self.size"),
    Mutant("limit: counts what the transport is sending", " - transport.offset + ", " + "),
    Mutant("limit: counts what the transport was just given", " + transport._tempDataLen"),
    Mutant(
        "limit: counts other transports",
        "return self.size + (_HANDOVER if inner is None else _held(inner))",
        "return self.size + (0 if inner is None else _held(inner))",
    ),
    Mutant(
        "limit: counts what another wraps",
        "return self.size + (_HANDOVER if inner is None else _held(inner))",
        "return self.size + _HANDOVER",
    ),
    Mutant("taken: counts what another wraps", "return self.size + _held(inner) + int", "return self.unsent + int"),
    Mutant("limit: counts what waits", "            self.size += len(buffer)\n", "            pass\n"),
    Mutant("mark", "return not self.paused or (", "return not self.paused and ("),
    Mutant("mark: writable while it takes", "return not self.paused or (", "return ("),
    Mutant("mark: of tiny messages", " and len(self._queue or ()) <= self._countMark", ""),
    Mutant("mark: exactly", "self.unsent <= self._highWaterMark", "self.unsent < self._highWaterMark"),
    Mutant("mark: told", "            self.writabilityChanged()\n", "            pass\n"),
    Mutant(
        "mark: told below it",
        "        if self.writable and not self._handing:",
        "        if not self.paused and not self._handing:",
    ),
    Mutant("drop: keeps the message begun", "self.size = sum(map(len, self._begun))", "self.size = 0"),
    Mutant("drop: tells how many", "        return dropped", "        return 0"),
    # Pongs
    Mutant("pongs: replaced", "if self.paused and waiting is not None:", "if False and waiting is not None:"),
    Mutant("pongs: only while paused", "if self.paused and waiting is not None:", "if waiting is not None:"),
    Mutant("pongs: counted", "            self.size += len(message[0]) - len(waiting[0])\n"),
    Mutant("pongs: begun are not replaced", "        if message is self._pongs:\n            self._pongs = None\n"),
    Mutant(
        "pongs: gone are not replaced",
        "            self._queue = self._pongs = None\n            self.size = 0",
        "            self._queue = None\n            self.size = 0",
    ),
    Mutant(
        "pongs: dropped are not replaced",
        "        self._queue = self._pongs = None\n        self.size = sum",
        "        self._queue = None\n        self.size = sum",
    ),
    # As a producer, and who is called back
    Mutant("producer: registered", "        self._transport.registerProducer(self, True)\n"),
    Mutant("producer: unregistered", "            self._transport.unregisterProducer()\n"),
    Mutant(
        "producer: unregistered is not paused",
        "            self.paused = False\n            self._transport",
        "            self._transport",
    ),
    Mutant(
        "producer: unregistered hands over",
        "            self._transport.unregisterProducer()\n        self.flush()\n",
        "            self._transport.unregisterProducer()\n",
    ),
    Mutant(
        "producer: pauses",
        "        self.paused = True\n        self.blocked()\n\n    def resume",
        "        self.blocked()\n\n    def resume",
    ),
    Mutant("producer: tells that it is paused", "        self.blocked()\n\n    def resume", "\n    def resume"),
    Mutant(
        "held: a client's messages wait",
        "        self.paused = True\n\n    def writeAhead",
        "        pass\n\n    def writeAhead",
    ),
    Mutant(
        "held: not for good",
        "        self.paused = False\n        self._transport.registerProducer",
        "        self._transport.registerProducer",
    ),
    Mutant(
        "held: nothing is handed to a transport yet",
        "        if not self.paused or not self._registered:\n",
        "        if not self.paused:\n",
    ),
    Mutant(
        "taken: what was sent",
        "        self.handed += sent\n        if sent == self.size",
        "        if sent == self.size",
    ),
    Mutant("taken: what was handed over", "        self.handed += len(portion)\n"),
    Mutant(
        "producer: resumes", "        self.paused = False\n        if not self._corked:", "        if not self._corked:"
    ),
    Mutant(
        "producer: sends when it resumes",
        "            self.flush()\n        if self.writable",
        "            pass\n        if self.writable",
    ),
    Mutant("reentrancy: bytes", "        if self._handing:\n", "        if False:\n"),
    Mutant("reentrancy: callback", "        if self.writable and not self._handing:", "        if self.writable:"),
    Mutant(
        "reentrancy: ends", "        finally:\n            self._handing = False", "        finally:\n            pass"
    ),
    Mutant(
        "drained: when nothing waits",
        "if self._drained is not None and not self.size:",
        "if self._drained is not None:",
    ),
    Mutant("drained: once", "drained, self._drained = self._drained, None", "drained = self._drained"),
]

PROTOCOL = [
    Mutant("wait: ends", "            self._transportTook,\n", "            _nothing,\n"),
    Mutant(
        "farewell: half a close",
        "self._halfClose if _canHalfClose(self._transport) else self._loseTransport",
        "self._loseTransport",
    ),
    Mutant(
        "farewell: not over TLS",
        "self._halfClose if _canHalfClose(self._transport) else self._loseTransport",
        "self._halfClose",
    ),
    Mutant(
        "farewell: nor where TLS is below",
        "IHalfCloseableDescriptor.providedBy(transport) and not ISSLTransport.providedBy(transport)",
        "IHalfCloseableDescriptor.providedBy(transport)",
    ),
    Mutant("farewell: half a close ends our side", "        self._transport.loseWriteConnection()", "        pass"),
    Mutant(
        "farewell: input is discarded until the end",
        "        self._transport.loseWriteConnection()",
        "        self._transport.loseWriteConnection()\n        self._transport.pauseProducing()",
    ),
    Mutant(
        "farewell: reading goes on",
        "        self._updateReading()\n        if not self._lastSent:",
        "        if not self._lastSent:",
    ),
    Mutant("farewell: after the last bytes", "        self._outgoing.whenDrained(then)", "        then()"),
    Mutant(
        "farewell: the producer leaves (half a close)",
        "        self._outgoing.unregister()\n        self._transport.loseWrite",
        "        self._transport.loseWrite",
    ),
    Mutant(
        "farewell: the producer leaves (close)",
        "        self._outgoing.unregister()\n        self._transport.loseConnection",
        "        self._transport.loseConnection",
    ),
    Mutant(
        "farewell: the transport closes",
        "        self._outgoing.unregister()\n        self._transport.loseConnection()",
        "        self._outgoing.unregister()",
    ),
    Mutant(
        "timer: half a close",
        "    def _halfClose(self) -> None:\n        self._startCloseTimer()\n",
        "    def _halfClose(self) -> None:\n",
    ),
    Mutant(
        "timer: close",
        "    def _loseTransport(self) -> None:\n        self._startCloseTimer()\n",
        "    def _loseTransport(self) -> None:\n",
    ),
    Mutant("timer: our Close", "        self._whenSent(self._startCloseTimer)\n"),
    Mutant(
        "timer: runs",
        "            self._startTimer(self._settings.closeTimeout, self._closeTimedOut)",
        "            pass",
    ),
    Mutant("timer: runs once", "        if self._lastSent:\n            return\n"),
    Mutant(
        "timer: aborts",
        "    def _closeTimedOut(self) -> None:\n        self._timer = None\n        self.abortConnection()",
        "    def _closeTimedOut(self) -> None:\n        self._timer = None",
    ),
    Mutant(
        "timer: ends with the connection",
        "        phase, self._phase = self._phase, LOST\n        self._stopTimer()\n",
        "        phase, self._phase = self._phase, LOST\n",
    ),
    Mutant(
        "queue: watched",
        "            self._watchQueue()\n        self._outgoing.whenDrained",
        "            pass\n        self._outgoing.whenDrained",
    ),
    Mutant(
        "queue: not once our last bytes have left",
        "        if not self._lastSent:\n            self._watchQueue()",
        "        if True:\n            self._watchQueue()",
    ),
    Mutant(
        "queue: a peer that takes something lives", "        if self._outgoing.untaken < untaken:", "        if False:"
    ),
    Mutant(
        "queue: a peer that takes nothing is aborted",
        "        if self._outgoing.untaken < untaken:",
        "        if True:",
    ),
    Mutant(
        "queue: what the system takes is taken",
        "self._queueWatched, self._outgoing.untaken)\n\n    def _queueWatched(self, untaken: int) -> None:\n"
        "        self._timer = None\n        if self._outgoing.untaken <",
        "self._queueWatched, self._outgoing.unsent)\n\n    def _queueWatched(self, untaken: int) -> None:\n"
        "        self._timer = None\n        if self._outgoing.unsent <",
    ),
    Mutant(
        "end: nothing leaves after an abort",
        "        self._outgoing.abort()\n        self._stopProducer()\n",
        "        self._stopProducer()\n",
    ),
    Mutant(
        "end: nothing leaves after a loss",
        "        self._outgoing.lost()\n        self.factory._forget",
        "        self.factory._forget",
    ),
    Mutant("overflow: drops", "self._outgoing.dropped += messages + self._outgoing.dropQueue()", "pass"),
    Mutant(
        "overflow: closes", '        self.loseConnection(CloseCode.TRY_AGAIN_LATER, "too much unsent")', "        pass"
    ),
    Mutant("fault of the application: 1011", "        self.loseConnection(CloseCode.INTERNAL_ERROR)", "        pass"),
    Mutant("pipes: taken for lost", "            self._startTimer(0, self._takenForLost)\n", "            pass\n"),
    Mutant("pipes: told to close", "        below.loseConnection()\n"),
    Mutant("pipes: without a producer", "        self._outgoing.unregister()\n        below.", "        below."),
    Mutant(
        "pipes: below TLS",
        '    while (below := getattr(transport, "transport", None)) is not None:',
        "    while (below := None):",
    ),
    Mutant(
        "loss: a peer that has no name",
        '        except Exception:\n            return "unknown"',
        '        except TypeError:\n            return "unknown"',
    ),
    Mutant(
        "close: a queue has its time",
        "            seconds = self._settings.closeTimeout\n        if",
        "            pass\n        if",
    ),
]

DELIVERY = [
    Mutant(
        "cork: while data are received",
        "        outgoing.cork()\n        self._delivering = True\n        try:\n            events",
        "        self._delivering = True\n        try:\n            events",
    ),
    Mutant("gap: nor the one that comes alone", " and not self._skipping:", ":"),
    Mutant("one event: is a message", "isinstance(events[0], (BinaryReceived, TextReceived))", "True"),
    Mutant(
        "farewell: reads on to the end",
        "            self._phase == ENDING\n            or self._isClosing()",
        "            self._isClosing()",
    ),
    Mutant(
        "farewell: reads on to the peer's Close",
        "            self._phase == ENDING\n            or self._isClosing()",
        "            self._phase == ENDING",
    ),
    Mutant(
        "wait: a peer that does not read is not read",
        "self._held is not None or self._isStalled() or",
        "self._held is not None or",
    ),
    Mutant("wait: nor heard", "            or (self._outgoing.paused and self._isStalled())\n"),
    Mutant(
        "wait: not once it closes",
        "            and not self._isClosing()\n            and not self._outgoing.writable",
        "            and not self._outgoing.writable",
    ),
    Mutant(
        "exempt: the application's pause",
        "not self._outgoing.paused and (self._paused or self._room() == 0)",
        "not self._outgoing.paused and self._room() == 0",
    ),
    Mutant(
        "exempt: its full queue",
        "not self._outgoing.paused and (self._paused or self._room() == 0)",
        "not self._outgoing.paused and self._paused",
    ),
    Mutant(
        "exempt: not while the peer takes nothing",
        "return not self._outgoing.paused and (",
        "return (",
    ),
    Mutant("gap: nothing behind it", "                self._skipping = True\n"),
    Mutant("pongs: by their own way", "self._outgoing.writePongs(replies)", "self._outgoing.writeControl(replies)"),
    Mutant(
        "delivery: what was resumed is paused again",
        "        if not self._reading and self._held is not None",
        "        if False and self._held is not None",
    ),
]

KEEPALIVE = [
    Mutant("keepalive: asks", "            self._ask()\n        return now", "        return now"),
    Mutant("keepalive: does not wait behind what is not taken", "        if not full:\n", "        if True:\n"),
    Mutant("keepalive: gives up", "            self._peerGone(timeout)\n"),
    Mutant("keepalive: any byte is life", "self._life < self._asked:", "True:"),
    Mutant(
        "keepalive: what is taken is life",
        "            self._life = now\n        self._taken,",
        "            pass\n        self._taken,",
    ),
    Mutant("keepalive: only from a full buffer", " and (full or self._wasFull)"),
    Mutant(
        "keepalive: exempt time does not count",
        "            self._overdue = True\n            return None\n",
        "            pass\n",
    ),
    Mutant("keepalive: nor while it was asked", "min(self._asked + seconds, ", "min(self._asked, "),
    Mutant(
        "keepalive: what came in a pause is read", "                return now + _MOMENT\n", "                pass\n"
    ),
    Mutant("keepalive: but not for good", "                self._grace = None\n"),
    Mutant(
        "keepalive: nor the reactor's own lateness", " or (self._grace is not None and now >= deadline + _MOMENT):", ":"
    ),
    Mutant(
        "keepalive: a look is made up for", "                self._watch.again(self, now)\n", "                pass\n"
    ),
    Mutant("keepalive: once", "            self._overdue = False\n"),
    Mutant("keepalive: not once it closes", " or self._isClosing():", ":"),
    Mutant("keepalive: one question at a time", "            self._dropOldQuestion()\n"),
    Mutant(
        "latency: a Pong answers the earlier ones",
        "self._questions[0].number <= number:",
        "self._questions[0].number == number:",
    ),
    Mutant("latency: and not the later ones", "self._questions[0].number <= number:", "True:"),
    Mutant("latency: times out", "question.timer = self._reactor.callLater", "self._reactor.callLater"),
    Mutant("latency: ours alone", "return payload.startswith(_MARK)", "return True"),
    Mutant(
        "keepalive: a policy over TLS",
        "            self.loseConnection(CloseCode.GOING_AWAY)\n            return None\n",
        "            pass\n",
    ),
    Mutant(
        "keepalive: a policy over TLS only",
        "        if ISSLTransport.providedBy(self._transport) and getattr",
        "        if getattr",
    ),
]

WATCH = [
    Mutant("watch: the earlier one first", "            self._call.reset(delay)\n", "            pass\n"),
    Mutant("watch: ends", "                self._call.cancel()\n"),
    Mutant("watch: goes on", "        self._schedule(_STEP)\n"),
    Mutant("watch: not at once", "max(again, now + _STEP)", "again"),
    Mutant("watch: one call for several", "self._schedule(_STEP)", "self._schedule(0)"),
]

CLIENT = [
    Mutant("client: what is sent waits for the answer", "        self._outgoing.hold()\n"),
    Mutant(
        "client: the opening timer stays while it closes",
        "        if self._phase == OPENING:\n            # It leaves",
        "        if False:\n            # It leaves",
    ),
    Mutant(
        "client: closes once it is open",
        "                self._closeSent()\n        finally",
        "                pass\n        finally",
    ),
    Mutant("client: who waited goes on", "        self._transportTook()\n", "        self._continue()\n"),
    Mutant(
        "client: the server drops it first",
        "        self._whenSent(self._startCloseTimer)\n",
        "        self._whenSent(self._loseTransport)\n",
    ),
    Mutant("client: no secret without TLS", "if factory.url.secure and not", "if False and not"),
    Mutant(
        "client: its own opening timer",
        "            self._startTimer(seconds, self._openingTimedOut)",
        "            pass",
    ),
    Mutant(
        "client: a late application",
        "        if self._phase != OPENING:\n            return\n        if not isApplication",
        "        if not isApplication",
    ),
    Mutant("client: a refusal is read to its end", "body), abort=False)", "body))"),
    Mutant("client: what came with the answer", "                self._hold(unread)\n", "                pass\n"),
    Mutant("client: open is what did not abort", "            if wire._phase == OPEN:\n", "            if True:\n"),
    Mutant("client: the guard leaves", "            self._guard.leave()\n"),
    Mutant(
        "client: why",
        "    dropped.__cause__ = error\n    return dropped\n\n\ndef _rejection",
        "    return dropped\n\n\ndef _rejection",
    ),
]

ATTEMPT = [
    Mutant(
        "attempt: cancelling drops",
        "        if wire is not None:\n            wire.abortConnection()\n\n    def _cancel(",
        "        pass\n\n    def _cancel(",
    ),
    Mutant(
        "attempt: an endpoint that is late",
        "            wire.abortConnection()\n            return\n",
        "            return\n",
    ),
    Mutant(
        "attempt: an endpoint that fails late",
        "            # It has made the connection, and then failed.\n            wire.abortConnection()\n",
        "            pass\n",
    ),
    Mutant(
        "attempt: one time", "        self._wire = wire\n        self._stopTimer()\n", "        self._wire = wire\n"
    ),
    Mutant("attempt: leaves nothing", "        self._connecting = self._wire = None\n", "        pass\n"),
]

LOOKUP = [
    Mutant(
        "lookup: the reactor's resolver", "self._resolver.resolveHostName(", "GAIResolver(reactor).resolveHostName("
    ),
    Mutant(
        "lookup: the name", "resolutionReceiver, self._host, portNumber", "resolutionReceiver, hostName, portNumber"
    ),
    Mutant("lookup: which names are taken", "(?:-[a-z0-9]+)*", "(?:-+[a-z0-9]+)*"),
    Mutant("lookup: the error", "        if failure.check(DNSLookupError):", "        if False:"),
]

VERIFICATION = [
    Mutant("verification: no top-level wildcard", '"." in domain and ', ""),
    Mutant("verification: the whole label", 'wildcard == "*"', '"*" in wildcard'),
    Mutant("verification: the server's name", "        if self._serverName is not None:", "        if False:"),
]

STREAM = [
    Mutant("stream: a browser's close is usual", ", CloseCode.NO_STATUS_RECEIVED)", ")"),
    Mutant(
        "stream: cancelling loses nothing",
        "        self._receiver = None\n\n    def _abandon",
        "        pass\n\n    def _abandon",
    ),
    Mutant("stream: a cancelled handler is not logged", "if not result.check(CancelledError):", "if True:"),
    Mutant("stream: its own end is no error", "self.transport._connection.is_open or not", "True or not"),
]

SERVER = [
    Mutant("refusal: its farewell", "        self._leave()\n", "        self._transport.loseConnection()\n"),
    Mutant(
        "opening: asyncio cancels",
        "except CAUGHT:\n            self._decisionFailed",
        "except Exception:\n            self._decisionFailed",
    ),
    Mutant(
        "opening: who leaves cancels",
        "            self._cancel(deciding)\n        forwarded",
        "            pass\n        forwarded",
    ),
    Mutant("heads: their bound", "            if self.factory._unfinished > _UNFINISHED:", "            if False:"),
    Mutant("heads: given back", "        self.factory._unfinished -= decoder.held\n", ""),
    Mutant("heads: given back when refused", "            self.factory._unfinished -= held\n", ""),
    Mutant("refusal: its Date", 'answer.with_default("Date", formatdate(usegmt=True))', "answer"),
    Mutant("refusal: of HEAD", "answer.raw if isForHead else answer.encode()", "answer.encode()"),
    Mutant(
        "others: they may fail",
        '            except CAUGHT:\n                self._log.failure(\n                    "what otherwise',
        '            except TypeError:\n                self._log.failure(\n                    "what otherwise',
    ),
    Mutant("log: a refusal is said once", "        if self.factory.accessLog is None:\n", "        if True:\n"),
    Mutant("log: no delayed call after the end", "                    summary.close()\n", "                    pass\n"),
    Mutant("log: no delayed call without a port", "                summary.flush()\n", "                pass\n"),
    Mutant("records: once", "        began, self._began = self._began, None\n", "        began = self._began\n"),
    Mutant("records: none of the silent", " or not self._bytesReceived:", ":"),
    Mutant("records: none of others'", "        self._began = None\n        protocol", "        protocol"),
    Mutant(
        "records: one that fails",
        '        except CAUGHT:\n            self._log.failure("accessLog',
        '        except TypeError:\n            self._log.failure("accessLog',
    ),
]

REFUSAL = [
    Mutant("only origins are repeated", "if _ORIGIN.fullmatch(origin) else", "if origin else"),
    Mutant("a body of another type", ' or any(name.lower() == "content-type" for name, _ in refuse.headers)', ""),
]

ACCESS = [
    Mutant("by whom: an abort", "        elif first is None and not aborted:", "        elif first is None:"),
    Mutant(
        "by whom: the first Close",
        "        if connection.peer_closed_first:\n            closedBy",
        "        if connection.close_received:\n            closedBy",
    ),
    Mutant(
        "the first Close",
        "connection.close_received if connection.peer_closed_first else",
        "connection.close_received if connection.close_received else",
    ),
    Mutant("messages: those that were dropped", " - outgoing.dropped", ""),
]

SUMMARY = [
    Mutant("a second of its own", "if not 0 <= now - self._began < 1:", "if not 0 <= now - self._began < 10:"),
    Mutant("after the end", "            if self._closed:\n                return\n"),
    Mutant("nothing is kept", "        last, self._last = self._last, {}\n", "        last = self._last\n"),
    Mutant("no delayed call", "            self._call.cancel()\n"),
]

TRANSPORT = [
    Mutant("memory: what has not left is not read", "min(self._chunk, other._capacity)", "self._chunk"),
]

#: (file, mutants, tests)
GUARD = [
    Mutant("guard: looks again", "        return now + GUARD_SECONDS\n", "        return None\n"),
    Mutant("guard: tells", "            wire._closedPastUs()\n"),
    Mutant("guard: not what is ending", "if wire is None or not wire._isGuarded():", "if wire is None:"),
    Mutant("guard: TLS alone", "if ISSLTransport.providedBy(wire._transport) else None", ""),
    Mutant("guard: leaves", "        self._watch.leave()\n", "        pass\n"),
]

REASONS = [
    Mutant("again: a copy", "twin: BaseException = copy(error)", "twin: BaseException = error"),
    Mutant("again: of any", "    except Exception:", "    except KeyError:"),
    Mutant("again: its attributes", "        twin.__dict__.update(error.__dict__)\n"),
    Mutant(
        "again: the cause",
        "cause if cause is None or isinstance(error, WebSocketError) else _twin(cause)",
        "cause",
    ),
    Mutant("result: another each time", "raise again(self._failure.value)", "raise self._failure.value"),
    Mutant(
        "result: in no frame that holds it",
        "            self.addErrback(self._keep)\n",
        "            self.result.raiseException()\n",
    ),
]

LOG = [
    Mutant("log: lets go", "        letGo(failure)\n", "        pass\n"),
    Mutant("let go: its text stays", "    _ = failure.frames\n"),
    Mutant("let go: the failure's", "    failure.tb = None\n"),
    Mutant("let go: the exception's", "        one.__traceback__ = None\n"),
    Mutant("let go: what led to it", "errors += [one.__cause__, one.__context__, ", "errors += ["),
    Mutant("let go: of several", "            letGo(one.subFailure)\n", "            pass\n"),
]

LET_GO = [
    Mutant("handed: lets go", "        handed.letGo()\n"),
    Mutant("attempt: lets its result go", "result, self._result = self._result, None", "result = self._result"),
]

HELD = [
    Mutant("stream: held weakly", "        self._application = proxy(application, gone)\n"),
    Mutant("stream: what it waits for, too", "wire._application = wire._serving = None", "wire._application = None"),
    Mutant("loss: lets the transport go", "        self._outgoing.lost()\n", "        self._outgoing.abort()\n"),
]

LOST = [
    Mutant("lost: calls nobody", "        self.writabilityChanged = self.blocked = _nothing\n"),
    Mutant("lost: forgets the transport", "        self._transport = self._tls = self._below = None\n"),
]

PARTS = [
    ("wsock/turn.py", TURN, OUTGOING_TESTS),
    ("wsock/outgoing.py", OUTGOING, OUTGOING_TESTS),
    ("wsock/delivery.py", DELIVERY, PROTOCOL_TESTS),
    ("wsock/protocol.py", PROTOCOL, PROTOCOL_TESTS),
    ("wsock/server.py", SERVER, PROTOCOL_TESTS),
    ("wsock/refusal.py", REFUSAL, ["tests/test_server.py", "tests/test_access.py"]),
    ("wsock/access.py", ACCESS, ["tests/test_access.py"]),
    ("wsock/summary.py", SUMMARY, ["tests/test_summary.py"]),
    ("wsock/keepalive.py", KEEPALIVE, ["tests/test_keepalive.py"]),
    ("wsock/watch.py", WATCH, ["tests/test_watch.py"]),
    ("wsock/client.py", CLIENT, CLIENT_TESTS),
    ("wsock/attempt.py", ATTEMPT, CLIENT_TESTS),
    ("wsock/guard.py", GUARD, ["tests/test_client.py", "tests/test_server.py"]),
    ("wsock/reasons.py", REASONS, ["tests/test_reasons.py", "tests/test_garbage.py"]),
    ("wsock/log.py", LOG, ["tests/test_log.py", "tests/test_garbage.py"]),
    ("wsock/attempt.py", LET_GO, ["tests/test_garbage.py", "tests/test_client.py"]),
    ("wsock/protocol.py", HELD, ["tests/test_garbage.py"]),
    ("wsock/outgoing.py", LOST, ["tests/test_garbage.py"]),
    ("wsock/lookup.py", LOOKUP, ["tests/test_lookup.py"]),
    ("wsock/verification.py", VERIFICATION, ["tests/test_verification.py", "tests/integration/test_verification.py"]),
    ("wsock/stream.py", STREAM, ["tests/test_stream.py"]),
    ("wsock/testing/transport.py", TRANSPORT, ["tests/test_testing.py"]),
]


def copy(folder: Path) -> Path:
    """A copy of what the tests need."""
    folder.mkdir()
    for name in ("wsock", "twisted", "tests", "examples", "docs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def run(tree: Path, tests: str) -> str:
    """Runs tests in a tree: "green", "red", or what went wrong."""
    # No bytecode: a replacement of the same length in the same second would not be seen.
    environment = os.environ | {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1", "WSOCK_EXPECT": "python"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "--no-header", "-p", "no:cacheprovider", "--timeout=60"]
    try:
        done = subprocess.run(
            [*command, "--hypothesis-profile=quick", tests],
            cwd=tree, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=TIMEOUT, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return "red"
    if done.returncode in (0, 1):
        return "red" if done.returncode else "green"
    return f"pytest ended with {done.returncode}:\n{done.stdout.decode(errors='replace')[-2000:]}"


def judge(tree: Path, file: str, mutant: Mutant, tests: list[str]) -> str:
    """ "killed by ...", or what is wrong with the mutant or the tests."""
    path = tree / file
    text = path.read_text()
    count = text.count(mutant.old)
    if count != 1:
        return f"FAILED: its text stands {count} times in {file}"
    path.write_text(text.replace(mutant.old, mutant.new))
    try:
        for part in tests:
            result = run(tree, part)
            if result == "red":
                return f"killed by {part}"
            if result != "green":
                return f"FAILED: {result}"
    finally:
        path.write_text(text)
    return "SURVIVED"


def main() -> int:
    words = sys.argv[1:]
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="wsock-mutants-") as folder:
        trees: queue.Queue[Path] = queue.Queue()
        for number in range(WORKERS):
            trees.put(copy(Path(folder, str(number))))

        def inTree(function, *arguments):
            tree = trees.get()
            try:
                return function(tree, *arguments)
            finally:
                trees.put(tree)

        with ThreadPoolExecutor(WORKERS) as executor:
            chosen = [
                (file, mutant, [part for part in tests if Path(ROOT, part).exists()])
                for file, mutants, tests in PARTS
                for mutant in mutants
                if not words or any(word in f"{file} {mutant.name}" for word in words)
            ]
            parts = sorted({part for _, _, tests in chosen for part in tests})
            for part, result in zip(parts, executor.map(lambda part: inTree(run, part), parts), strict=True):
                print(f"{part}, as it is: {result}", flush=True)
                if result != "green":
                    return 1
            results = executor.map(lambda one: inTree(judge, *one), chosen)
            wrong = 0
            for (file, mutant, _), result in zip(chosen, results, strict=True):
                wrong += not result.startswith("killed")
                print(f"{file:18} {mutant.name:48} {result}", flush=True)
    print(f"{len(chosen)} mutants, {wrong} not killed, in {time.monotonic() - began:.0f} s")
    return 1 if wrong or not chosen else 0


if __name__ == "__main__":
    sys.exit(main())
