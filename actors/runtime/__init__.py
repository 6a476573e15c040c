"""An Erlang/OTP-style actor runtime: processes, links, monitors, exit reasons, servers, nodes.

    from palaver.actors.runtime import GenServer, Node

See `docs/semantics.md` for what is guaranteed.
"""

from palaver.actors.runtime.calls import From
from palaver.actors.runtime.clock import Clock, SystemClock, TimerHandle
from palaver.actors.runtime.context import ProcessContext, Spawnable
from palaver.actors.runtime.errors import (
    BadReturn,
    CalleeExited,
    CallFailed,
    CallTimeout,
    ExitProcess,
    ForeignAwait,
    MailboxFull,
    NameTaken,
    NodeDown,
    NodeStopped,
    NoProcess,
    ProcessLimit,
    ReceiveTimeout,
    RuntimeFault,
    StartError,
    StartIgnored,
)
from palaver.actors.runtime.gen_server import GenServer
from palaver.actors.runtime.introspection import NodeStats, ProcessInfo, ProcessStatus
from palaver.actors.runtime.mailbox import MailboxLimit
from palaver.actors.runtime.messages import (
    NOREPLY,
    Continue,
    Down,
    Exit,
    Ignore,
    NoReply,
    Request,
    Response,
    Stop,
)
from palaver.actors.runtime.node import Node
from palaver.actors.runtime.observer import (
    CrashReport,
    NullObserver,
    Observer,
    StructlogObserver,
)
from palaver.actors.runtime.pid import Dest, Pid, Ref
from palaver.actors.runtime.reasons import (
    KILL,
    KILLED,
    NOCONNECTION,
    NOPROC,
    NORMAL,
    SHUTDOWN,
    Crash,
    ExitReason,
    NamedReason,
    Overflow,
    Shutdown,
    is_abnormal,
)
from palaver.actors.runtime.timers import TimerRef

__all__ = [
    "KILL",
    "KILLED",
    "NOCONNECTION",
    "NOPROC",
    "NOREPLY",
    "NORMAL",
    "SHUTDOWN",
    "BadReturn",
    "CallFailed",
    "CallTimeout",
    "CalleeExited",
    "Clock",
    "Continue",
    "Crash",
    "CrashReport",
    "Dest",
    "Down",
    "Exit",
    "ExitProcess",
    "ExitReason",
    "ForeignAwait",
    "From",
    "GenServer",
    "Ignore",
    "MailboxFull",
    "MailboxLimit",
    "NameTaken",
    "NamedReason",
    "NoProcess",
    "NoReply",
    "Node",
    "NodeDown",
    "NodeStats",
    "NodeStopped",
    "NullObserver",
    "Observer",
    "Overflow",
    "Pid",
    "ProcessContext",
    "ProcessInfo",
    "ProcessLimit",
    "ProcessStatus",
    "ReceiveTimeout",
    "Ref",
    "Request",
    "Response",
    "RuntimeFault",
    "Shutdown",
    "Spawnable",
    "StartError",
    "StartIgnored",
    "Stop",
    "StructlogObserver",
    "SystemClock",
    "TimerHandle",
    "TimerRef",
    "is_abnormal",
]
