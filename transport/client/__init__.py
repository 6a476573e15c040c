"""The client library: talk to Palaver from a Python program.

::

    identity = await Client.sign_up(url, "+491701234567", ask_the_person, "laptop")
    async with Client(url, identity, state=FileState("laptop.state")) as client:
        await client.send_message(client.account, "+491707654321", "text", text="Hello")
        async for message in client.messages():
            print(message.sender, message.text)
"""

from __future__ import annotations

from palaver.transport.client.client import Client
from palaver.transport.client.core import Limits, Timeouts
from palaver.transport.client.errors import *  # noqa: F403 - the tree of exceptions, whole
from palaver.transport.client.errors import __all__ as _errors
from palaver.transport.client.filestate import FileState
from palaver.transport.client.identity import Identity, new_key
from palaver.transport.client.model import (
    Conversation,
    Device,
    Event,
    FileId,
    Mark,
    MembersChanged,
    Message,
    Presence,
    Receipt,
    SentMessage,
    Typing,
)
from palaver.transport.client.ports import Backoff, Clock, SystemClock, TimerHandle
from palaver.transport.client.signup import SignUp
from palaver.transport.client.state import (
    ClientState,
    MemoryState,
    OutboxItem,
    Snapshot,
    StateChange,
)
from palaver.transport.client.streams import Milestone, Outgoing, Stream

__all__ = [
    "Backoff",
    "Client",
    "ClientState",
    "Clock",
    "Conversation",
    "Device",
    "Event",
    "FileId",
    "FileState",
    "Identity",
    "Limits",
    "Mark",
    "MembersChanged",
    "MemoryState",
    "Message",
    "Milestone",
    "OutboxItem",
    "Outgoing",
    "Presence",
    "Receipt",
    "SentMessage",
    "SignUp",
    "Snapshot",
    "StateChange",
    "Stream",
    "SystemClock",
    "Timeouts",
    "TimerHandle",
    "Typing",
    "new_key",
]
__all__ += _errors
