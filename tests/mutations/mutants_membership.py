"""Bugs in who somebody is, who may send and who receives, and in what arrives."""

from __future__ import annotations

from mutation import Edit, Mutation

from palaver.actors.chat import handshake
from palaver.actors.chat.device_queue import DeviceQueue
from palaver.actors.chat.lanes import Lanes
from palaver.actors.chat.partition import PartitionServer
from palaver.actors.chat.state import accounts, conversations, events
from palaver.actors.chat.state.step import Step

WHOLE = "a message arrives as it was written"
MEMBERS = "a conversation's members get its messages, and nobody else"
IDENTITY = "a sender is who signed in"
REVOKED = "a revoked device neither sends nor receives"

MUTATIONS = [
    Mutation(
        "sender-from-the-pair",
        "The sender of a direct message is taken from the conversation, not from the session.",
        IDENTITY,
        [
            Edit(
                Lanes._submit_some,
                """
                session.account,
                session.device,
                """,
                """
                lane.pair[0] if lane.pair else session.account,
                session.device,
                """,
            )
        ],
    ),
    Mutation(
        "signature-not-checked",
        "Any signature will do: the connection is encrypted.",
        IDENTITY,
        [Edit(handshake._signed, "return False", "return True")],
        scenario="devices",
    ),
    Mutation(
        "body-cut",
        "A body is stored in a column of 64 bytes.",
        WHOLE,
        [Edit(events.message_event, "_bytes(message.body),", "_bytes(message.body[:64]),")],
    ),
    Mutation(
        "length-off-by-one",
        "A length of 24 is still written into the first byte.",
        WHOLE,
        [
            Edit(
                events._head,
                """
                if length < 24:
                    return bytes((major | length,))
                """,
                """
                if length <= 24:
                    return bytes((major | length,))
                """,
            )
        ],
    ),
    Mutation(
        "revoked-stays-connected",
        "A revocation is checked at the next login; a session goes on until then.",
        REVOKED,
        [
            Edit(
                PartitionServer._tell,
                """
                for queue in self._attachments.revoke((account, device)):
                    self.send(queue, Revoked())
                """,
                "pass",
            )
        ],
        scenario="calm",
    ),
    Mutation(
        "revoked-in-the-tables-only",
        "A queue that hears of its device's revocation rests; its session goes on.",
        REVOKED,
        [
            Edit(
                DeviceQueue._take_rare,
                """
                elif kind is Revoked:
                    self._revoked()
                """,
                """
                elif kind is Revoked:
                    self._attached = False
                """,
            )
        ],
        scenario="calm",
    ),
    Mutation(
        "revoked-device-still-cached",
        "The cache of an account's devices is not told that one is gone.",
        REVOKED,
        [Edit(accounts._remove_device, "step.memory.devices.pop(account, None)", "")],
        scenario="devices",
    ),
    Mutation(
        "new-device-not-cached",
        "The cache of an account's devices is not told of a new one.",
        MEMBERS,
        [Edit(accounts.register_device, "step.memory.devices.pop(account, None)", "")],
    ),
    Mutation(
        "members-of-before",
        "A change of the members is written to the table, but the cache keeps the old ones.",
        MEMBERS,
        [
            Edit(
                Step.put_conversation,
                "self.memory.conversations[conversation] = record",
                "self.memory.conversations.setdefault(conversation, record)",
            )
        ],
    ),
    Mutation(
        "removed-not-told",
        "Who is removed from a group is not told: they are no member any more.",
        "who leaves hears of it",
        [
            Edit(
                conversations.change_members,
                "told = tuple(sorted({*members, *leaving}))",
                "told = members",
            )
        ],
    ),
    Mutation(
        "removed-may-send",
        "Who once was a member may send; the client does not offer it.",
        MEMBERS,
        [
            Edit(
                conversations._may_send,
                """
                if sender not in record.members:
                    return _NOT_A_MEMBER
                """,
                "",
            )
        ],
        scenario="group",
    ),
    Mutation(
        "anybody-changes-members",
        "Whether it is an admin who changes the members is up to the client.",
        "only admins change the members",
        [
            Edit(
                conversations.change_members,
                "if sender not in record.admins and (joining or leaving != (sender,)):",
                "if False:",
            )
        ],
        scenario="group",
    ),
    Mutation(
        "sender-gets-a-copy",
        "The sending device gets its own message as well.",
        MEMBERS,
        [
            Edit(
                conversations._fan_out,
                """
                elif not (step.is_here(sender.encode()) and step.devices(sender) == (device,)):
                    # The sender's other devices; nearly always there are none.
                    step.submit(member.encode(), (cmd.ENQUEUE, member, device, count, events))
                """,
                """
                else:
                    step.submit(member.encode(), (cmd.ENQUEUE, member, 0, count, events))
                """,
            )
        ],
    ),
    Mutation(
        "own-devices-left-out",
        "What is sent from one device does not come to the sender's others.",
        MEMBERS,
        [
            Edit(
                conversations._fan_out,
                "step.submit(member.encode(), (cmd.ENQUEUE, member, device, count, events))",
                "pass",
            )
        ],
    ),
]
