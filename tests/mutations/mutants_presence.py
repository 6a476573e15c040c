"""Bugs in receipts, in presence, and in who is known to be connected where."""

from __future__ import annotations

from mutation import Edit, Mutation, Put

from palaver.actors.chat import device_queue, session
from palaver.actors.chat.device_queue import DeviceQueue
from palaver.actors.chat.gateway import Gateway
from palaver.actors.chat.partition import PartitionServer
from palaver.actors.chat.presence import Presence
from palaver.actors.chat.registry import MemoryRegistry
from palaver.actors.chat.state import accounts, conversations, queues

RECEIPTS = "receipts are true, and never fall"
PRESENCE = "who is shown online is online"
SEEN = "last seen is durable, of the past, and never falls"
SESSIONS = "one live session per device"
REGISTRY = "the registry names the sessions that there are"
PUSHED = "what is queued is pushed to a device that is connected"

MUTATIONS = [
    Mutation(
        "receipt-of-everything",
        "Whoever acknowledges something has received all that the conversation holds.",
        RECEIPTS,
        [
            Edit(
                conversations.delivered,
                "seq = min(seq, step.head(conversation)[0])",
                "seq = step.head(conversation)[0]",
            )
        ],
    ),
    Mutation(
        "receipt-at-the-push",
        "What was queued counts as delivered.",
        RECEIPTS,
        [
            Edit(
                queues.enqueue,
                "step.effects.append(cmd.Queued(account, device, position, event))",
                """
                step.effects.append(cmd.Queued(account, device, position, event))
                if sender != account:
                    step.submit(conversation, (cmd.DELIVERED, conversation, account, seq, [sender]))
                """,
            )
        ],
    ),
    Mutation(
        "read-falls",
        "The read watermark is what was said last, not the highest that was said.",
        RECEIPTS,
        [
            Edit(
                conversations.read,
                """
                if seq > was_read:
                    now_delivered = max(seq, was_delivered)
                """,
                """
                if seq != was_read:
                    now_delivered = max(seq, was_delivered)
                """,
            )
        ],
        scenario="returning",
    ),
    Mutation(
        "delivered-falls",
        "The delivered watermark is that of the device that acknowledged last.",
        RECEIPTS,
        [Edit(conversations.delivered, "if seq > was_delivered:", "if seq != was_delivered:")],
        scenario="returning",
    ),
    Mutation(
        "receipt-forgotten",
        "A receipt is sent on only if the sender is watched by the same commit.",
        "who wrote something hears of its delivery",
        [
            Edit(
                PartitionServer._committed,
                "for mark in marks.values():",
                "for mark in list(marks.values())[1:]:",
            )
        ],
        scenario="calm",
    ),
    Mutation(
        "presence-leak-at-a-crash",
        "A session says goodbye to presence itself; one that crashes does not.",
        PRESENCE,
        [
            Edit(
                Gateway._down,
                "self.send(presence, Present(self.pid, account, device, session, False))",
                "",
            )
        ],
        scenario="presence",
    ),
    Mutation(
        "presence-leak-of-a-gateway",
        "Presence does not care when a gateway dies: its sessions say that they went.",
        PRESENCE,
        [Edit(Presence._drop_gateway, "if home.gateway is gateway:", "if False:")],
        scenario="presence",
    ),
    Mutation(
        "presence-not-told-again",
        "After presence began anew nobody tells it who is here.",
        PRESENCE,
        [
            Edit(
                Gateway._meet_presence,
                "self.send(presence, Present(self.pid, account, device, session, True))",
                "pass",
            )
        ],
        scenario="supervisors",
    ),
    Mutation(
        "last-device-counts",
        "An account is offline as soon as one of its devices is.",
        PRESENCE,
        [
            Edit(
                Presence._went,
                """
                if not sessions:
                    del self._online[account]
                """,
                """
                if True:
                    del self._online[account]
                """,
            )
        ],
        scenario="calm",
    ),
    Mutation(
        "last-seen-not-durable",
        "When somebody goes, it is shown at once when that was; it will be written soon.",
        SEEN,
        [
            Edit(
                Presence._seen,
                "self._unwritten[key] = max(now_ms, self._unwritten.get(key, 0))",
                """
                self._unwritten[key] = max(now_ms, self._unwritten.get(key, 0))
                self._last_seen[account] = max(now_ms, self._last_seen.get(account, 0))
                """,
            ),
            Edit(
                Presence._tell,
                "unsafe = {row[0] for rows in self._writes.values() for row in rows}",
                "unsafe = set()",
            ),
        ],
        scenario="cuts",
    ),
    Mutation(
        "last-seen-of-tomorrow",
        "As long as somebody is online, last seen is written for the next refresh in advance.",
        SEEN,
        [
            Edit(
                Presence._seen,
                "self._unwritten[key] = max(now_ms, self._unwritten.get(key, 0))",
                "self._unwritten[key] = max(now_ms + 60_000, self._unwritten.get(key, 0))",
            )
        ],
        scenario="presence",
    ),
    Mutation(
        "last-seen-falls",
        "Last seen is the wall clock's time, even if that was set back.",
        SEEN,
        [
            Edit(
                accounts.last_seen,
                "if raw is None or U64.unpack(raw)[0] < time_ms:",
                "if True:",
            )
        ],
        scenario="jumpy",
    ),
    Mutation(
        "old-session-stays",
        "When a device connects anew, its old session is not told.",
        SESSIONS,
        [Edit(Gateway._register, "self.send(before, _replaced())", "pass")],
        scenario="returning",
    ),
    Mutation(
        "old-session-elsewhere-stays",
        "When a device connects at another gateway, its old session is not told.",
        SESSIONS,
        [Edit(Gateway._release, "self.send(session, _replaced())", "pass")],
        scenario="returning",
    ),
    Mutation(
        "new-session-forgotten",
        "The end of a replaced session takes the new one off the list.",
        SESSIONS,
        [Edit(Gateway._down, "if devices.get(device) is session:", "if device in devices:")],
        scenario="returning",
    ),
    Mutation(
        "registry-entry-left",
        "A gateway does not withdraw a session that crashed.",
        REGISTRY,
        [
            Edit(
                Gateway._down,
                "self.send(manager, Withdraw(self.pid, account, device, session, not devices))",
                "",
            )
        ],
        scenario="presence",
    ),
    Mutation(
        "registry-removes-the-newer",
        "A late withdrawal of an old session removes the entry of the new one.",
        REGISTRY,
        [
            Edit(
                MemoryRegistry.remove,
                "if devices is None or device not in devices or devices[device][1] is not session:",
                "if devices is None or device not in devices:",
            )
        ],
        scenario="returning",
    ),
    Mutation(
        "live-event-lost-while-reading",
        "An event that arrives while the table is read is dropped: the read will find it.",
        PUSHED,
        [
            Edit(
                DeviceQueue.handle_info,
                """
                elif first + len(events) > self._next:
                    self._behind = True
                    self._read_on()
                """,
                "",
            ),
            Edit(
                DeviceQueue._read,
                "self._behind = True\nself._push(first, events)",
                "self._push(first, events)",
            ),
        ],
        scenario="returning",
    ),
    Mutation(
        "window-stays-shut",
        "The window is looked at when something arrives, not when an acknowledgement makes room.",
        PUSHED,
        [
            Edit(
                DeviceQueue._acknowledged,
                """
                self.send(self._log, AckUpTo(self._account, self._device, position))
                self._read_on()
                """,
                "self.send(self._log, AckUpTo(self._account, self._device, position))",
            )
        ],
        setting=[Put(device_queue, "WINDOW_EVENTS", 4)],
        scenario="calm",
    ),
    Mutation(
        "pushed-around-a-gap",
        "A live event is pushed at once, even if earlier ones are still to be read.",
        "a device's events arrive in order, without a gap",
        [
            Edit(
                DeviceQueue.handle_info,
                "if first == self._next and caught_up and self._has_room():",
                "if first >= self._next and self._has_room():",
            )
        ],
        scenario="returning",
    ),
    Mutation(
        "queue-death-unnoticed",
        "A session does not watch its queue.",
        PUSHED,
        [
            Edit(
                session.Session._queue_started,
                "self._queue_ref = self.monitor(queue)",
                "",
            )
        ],
        scenario="supervisors",
    ),
]
