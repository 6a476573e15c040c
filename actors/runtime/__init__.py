"""An Erlang/OTP-style actor runtime: processes, links, monitors, exit reasons, servers, nodes.

    from palaver.actors.runtime import GenServer, Node

See `docs/semantics.md` for what is guaranteed.
"""

from palaver.actors.runtime.alias import Alias
from palaver.actors.runtime.calls import From
from palaver.actors.runtime.clock import Clock, SystemClock, TimerHandle
from palaver.actors.runtime.context import ProcessContext
from palaver.actors.runtime.errors import (
    AwaitedAtEnd,
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
    HIBERNATE,
    NOREPLY,
    TIMEOUT,
    Continue,
    Down,
    Exit,
    Hibernate,
    Ignore,
    NoReply,
    Reply,
    Request,
    Response,
    Stop,
    Timeout,
)
from palaver.actors.runtime.node import Node
from palaver.actors.runtime.observer import (
    CrashReport,
    NullObserver,
    Observer,
    StructlogObserver,
    SupervisorReport,
    report_supervisor,
)
from palaver.actors.runtime.pid import Addressable, Dest, Name, Pid, Ref, RegistryName
from palaver.actors.runtime.protocol import Call, Cast, Untyped
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
from palaver.actors.runtime.spawning import Spawnable
from palaver.actors.runtime.timers import TimerRef

__all__ = [
    "HIBERNATE",
    "KILL",
    "KILLED",
    "NOCONNECTION",
    "NOPROC",
    "NOREPLY",
    "NORMAL",
    "SHUTDOWN",
    "TIMEOUT",
    "Addressable",
    "Alias",
    "AwaitedAtEnd",
    "BadReturn",
    "Call",
    "CallFailed",
    "CallTimeout",
    "CalleeExited",
    "Cast",
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
    "Hibernate",
    "Ignore",
    "MailboxFull",
    "MailboxLimit",
    "Name",
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
    "RegistryName",
    "Reply",
    "Request",
    "Response",
    "RuntimeFault",
    "Shutdown",
    "Spawnable",
    "StartError",
    "StartIgnored",
    "Stop",
    "StructlogObserver",
    "SupervisorReport",
    "SystemClock",
    "Timeout",
    "TimerHandle",
    "TimerRef",
    "Untyped",
    "is_abnormal",
    "report_supervisor",
]
