"""WebSockets in memory, for tests: no sockets, no threads, no real reactor, and the same run each time.

`MemoryAgent` connects clients to a server factory. Below it are `MemoryEndpoint`, for whatever takes a client endpoint;
`Pair`, which connects two protocols of any kind; and `ScriptedPeer`, either side of a connection, byte by byte.

There is one rule: **nothing moves but in ``flush()`` and ``advance(seconds)``**. Sending, closing and connecting only
note what is to be done. All that share a ``twisted.internet.task.Clock`` move together: a server under test may be the
client of another.
"""

from .agent import MemoryAgent
from .endpoint import MemoryEndpoint, Pair
from .peer import ScriptedPeer
from .transport import MemoryTransport

__all__ = ["MemoryAgent", "MemoryEndpoint", "MemoryTransport", "Pair", "ScriptedPeer"]
