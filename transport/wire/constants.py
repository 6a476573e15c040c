"""The numbers and names of the protocol: operation codes, error codes, close codes, limits.

`wire.cddl` is the grammar and `docs/protocol.md` the conversation; this module gives both their
Python names. A value here never changes its meaning: what is new gets a new number.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Final

PROTOCOL_VERSION: Final = 1
"""The protocol version that this package speaks."""

WEBSOCKET_PATH: Final = "/ws"
"""The path on which a WebSocket is opened."""

# Requests: the client asks, exactly one OK or ERROR answers.
HELLO: Final = 1
CODE: Final = 2
SIGNUP: Final = 3
AUTH: Final = 4
SEND: Final = 5
GROUP: Final = 6
MEMBERS: Final = 7
CONVERSATIONS: Final = 8
MARKS: Final = 9
READ: Final = 10
WATCH: Final = 11
UNWATCH: Final = 12
PRIVACY: Final = 13
BLOCK: Final = 14
DEVICES: Final = 15
REVOKE: Final = 16
TOKEN: Final = 17

# Notices from the client: no id, no answer.
ACK: Final = 32
TYPING: Final = 33

# From the server.
OK: Final = 64
ERROR: Final = 65
PUSH: Final = 66
RECEIPT: Final = 67
PRESENCE: Final = 68
TYPING_FROM: Final = 69
GOING: Final = 70

# Events: what a device's queue stores and PUSH carries.
EVENT_MESSAGE: Final = 1
EVENT_MEMBERS: Final = 2

# Kinds of conversation.
DIRECT: Final = 0
GROUP_KIND: Final = 1

# Limits of the grammar. The server names the ones it applies in its answer to HELLO.
MAX_FRAME_BYTES: Final = 256 * 1024
MAX_FRAME_OPS: Final = 256
MAX_DEPTH: Final = 8
MAX_BODY_BYTES: Final = 64 * 1024
MAX_OPEN_REQUESTS: Final = 64
MAX_VERSIONS: Final = 16
MAX_MEMBERS: Final = 256
MAX_PAGE: Final = 256
MAX_TYPE_BYTES: Final = 64
MAX_NAME_BYTES: Final = 128
MAX_DEVICE_NAME_BYTES: Final = 64
MAX_AGENT_BYTES: Final = 128
MAX_CODE_BYTES: Final = 16
MAX_REQUEST_ID: Final = 2**32 - 1
MAX_UINT: Final = 2**63 - 1
"""The largest device, cid, seq, position, stamp or time in milliseconds."""
CONVERSATION_BYTES: Final = 16
FILE_BYTES: Final = 32
NONCE_BYTES: Final = 32
PUBLIC_KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64


class ErrorCode(StrEnum):
    """The stable code of an ERROR answer; what a client does for each is in docs/protocol.md."""

    BAD_REQUEST = "bad_request"
    UNSUPPORTED_VERSION = "unsupported_version"
    NOT_AUTHENTICATED = "not_authenticated"
    ALREADY_AUTHENTICATED = "already_authenticated"
    AUTH_FAILED = "auth_failed"
    REVOKED = "revoked"
    RATE_LIMITED = "rate_limited"
    CODE_WRONG = "code_wrong"
    CODE_EXPIRED = "code_expired"
    UNREACHABLE = "unreachable"
    NO_SUCH_CONVERSATION = "no_such_conversation"
    NOT_A_MEMBER = "not_a_member"
    NOT_ALLOWED = "not_allowed"
    TOO_LARGE = "too_large"
    TOO_MANY = "too_many"
    STALE_ID = "stale_id"
    ID_CONFLICT = "id_conflict"
    QUOTA = "quota"
    NO_SUCH_FILE = "no_such_file"
    OVERLOADED = "overloaded"
    UNAVAILABLE = "unavailable"
    GOING_AWAY = "going_away"
    TIMEOUT = "timeout"
    INTERNAL = "internal"


class CloseCode(IntEnum):
    """Why a WebSocket was closed; 4400 and above are Palaver's own."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    TEXT_FRAME = 1003
    NO_STATUS = 1005
    ABNORMAL = 1006
    TOO_BIG = 1009
    BAD_FRAME = 4400
    AUTH_FAILED = 4401
    REVOKED = 4403
    TOO_SLOW = 4408
    REPLACED = 4409
    TOO_MANY = 4429
    INTERNAL = 4500
