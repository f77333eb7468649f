"""The numbers of RFC 6455 under their RFC names.

The enums are for people; code on the path of a message compares the ``Final`` ints below them, which cost a third
of an enum comparison.
"""

from enum import Enum, IntEnum
from typing import Final


class Role(Enum):
    """Which side of a connection this is (RFC 6455 section 1.2)."""

    CLIENT = "client"
    SERVER = "server"


class Opcode(IntEnum):
    """The kinds of frames (RFC 6455 section 5.2)."""

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


class CloseCode(IntEnum):
    """Why a connection ended (RFC 6455 section 7.4.1 and its registry at IANA)."""

    NORMAL_CLOSURE = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    NO_STATUS_RECEIVED = 1005
    ABNORMAL_CLOSURE = 1006
    INVALID_PAYLOAD = 1007
    POLICY_VIOLATION = 1008
    MESSAGE_TOO_BIG = 1009
    MANDATORY_EXTENSION = 1010
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013
    BAD_GATEWAY = 1014
    TLS_HANDSHAKE = 1015


CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

#: The largest payload of a control frame, in bytes (RFC 6455 section 5.5).
MAX_CONTROL_PAYLOAD: Final = 125
#: The largest close reason, in bytes of UTF-8: a control payload less the two of the code.
MAX_CLOSE_REASON: Final = 123
#: The largest message taken in by default, in bytes.
DEFAULT_MAX_MESSAGE_SIZE: Final = 2**20
#: The longest line of an HTTP head by default, in bytes with its end: the cookies of a single sign-on
#: take 9,000. Load balancers have 16 KiB too; nginx (large_client_header_buffers) has 8.
DEFAULT_MAX_HEADER_LINE: Final = 2**14
#: The largest HTTP head, in bytes with its empty line, as nginx has it (four buffers of 8 KiB).
DEFAULT_MAX_HEADER_SIZE: Final = 2**15
#: The field lines of a head: Apache (LimitRequestFields) has 100, Twisted 500; some proxies add dozens.
DEFAULT_MAX_HEADERS: Final = 256
#: The protocol version that RFC 6455 section 4.1 asks for.
VERSION: Final = "13"


def is_sendable_close_code(code: int) -> bool:
    """Whether a Close frame may carry ``code`` (RFC 6455 sections 7.4.1 and 7.4.2).

    1004 is reserved; 1005, 1006 and 1015 only describe an end and never travel; 1012 to 1014 were
    registered later; 3000 to 4999 belong to libraries and applications.
    """
    return (1000 <= code <= 1014 and code not in (1004, 1005, 1006)) or 3000 <= code <= 4999
