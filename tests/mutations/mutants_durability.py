"""Bugs around what an acknowledgement promises, and around what may be repeated."""

from __future__ import annotations

from mutation import Edit, Mutation, Put

from palaver.actors.chat.device_queue import DeviceQueue
from palaver.actors.chat.lanes import Lanes
from palaver.actors.chat.state import accounts, conversations, queues
from palaver.actors.chat.state.conversations import _Answers

DURABLE = "an ack means durable"
ONCE = "a retry has no second effect"
KEPT = "a queue keeps an event until its device has it"

MUTATIONS = [
    Mutation(
        "dedupe-forgotten-at-restart",
        "The answers that make a retry harmless are kept in memory, with the caches.",
        ONCE,
        [
            Edit(
                _Answers.keep,
                """
                self._step.txn.put(
                    "answers", self._key + U64.pack(client_id), PAIR.pack(seq, stamp) + conversation
                )
                """,
                """
                self._step.memory.floors[self._key + b"!" + U64.pack(client_id)] = (
                    PAIR.pack(seq, stamp) + conversation
                )
                """,
            ),
            Edit(
                _Answers.find,
                'raw = self._step.txn.get("answers", self._key + U64.pack(client_id))',
                'raw = self._step.memory.floors.get(self._key + b"!" + U64.pack(client_id))',
            ),
            Edit(
                _Answers.knows,
                """
                key = self._key + U64.pack(client_id)
                return client_id < self._floor or self._step.txn.get("answers", key) is not None
                """,
                """
                key = self._key + b"!" + U64.pack(client_id)
                return client_id < self._floor or key in self._step.memory.floors
                """,
            ),
        ],
        scenario="power",
    ),
    Mutation(
        "dedupe-by-time",
        "Answers are kept for the conversation's last 3 messages instead of as long as the "
        "client may ask.",
        ONCE,
        [
            Edit(
                _Answers.find,
                "seq, stamp = PAIR.unpack_from(raw)",
                """
                seq, stamp = PAIR.unpack_from(raw)
                if seq + 3 <= self._step.head(raw[16:])[0]:
                    return None
                """,
            )
        ],
    ),
    Mutation(
        "floor-too-high",
        "The lowest id that a client still waits for counts as forgotten itself.",
        ONCE,
        [
            Edit(
                _Answers.find,
                """
                if client_id < self._floor:
                    return _STALE
                """,
                """
                if client_id <= self._floor and self._floor:
                    return _STALE
                """,
            )
        ],
    ),
    Mutation(
        "retry-told-nothing",
        "A retry of an accepted message is answered as if it were refused.",
        ONCE,
        [
            Edit(
                conversations.send,
                "answers.append(known)",
                "answers.append(cmd.Refusal('stale_id', 'this message was here before'))",
            )
        ],
    ),
    Mutation(
        "queue-deleted-on-push",
        "An event leaves the queue when it is written to the socket.",
        KEPT,
        [
            Edit(
                DeviceQueue._push,
                "self._connection.send(op)",
                """
                self._connection.send(op)
                self.send(self._log, AckUpTo(self._account, self._device, self._next - 1))
                """,
            )
        ],
    ),
    Mutation(
        "ack-deletes-anothers",
        "An acknowledgement is looked up by the account, and hits its first device.",
        KEPT,
        [
            Edit(
                queues.acknowledge,
                "key = device_key(account, device)",
                "key = device_key(account, min(step.devices(account), default=device))",
            )
        ],
    ),
    Mutation(
        "ack-one-too-far",
        "An acknowledgement deletes the position after it, too.",
        KEPT,
        [
            Edit(
                queues.acknowledge,
                "position = min(position, next_position(step, key) - 1)",
                "position = min(position + 1, next_position(step, key) - 1)",
            )
        ],
    ),
    Mutation(
        "position-used-again",
        "A device whose queue is empty counts its positions from 1 again after a restart.",
        KEPT,
        [
            Edit(
                queues.next_position,
                """
                raw = step.txn.get("acked", key)
                known = (U64.unpack(raw)[0] if raw else 0) + 1
                """,
                "known = 1",
            )
        ],
    ),
    Mutation(
        "only-who-is-here",
        "Only the first device of an account gets a queue entry: the others can ask later.",
        KEPT,
        [
            Edit(
                queues.enqueue,
                "for device in devices:",
                "for device in devices[:1]:",
            )
        ],
    ),
    Mutation(
        "shared-body-freed-early",
        "A shared body counts one reference fewer than there are queues.",
        KEPT,
        [
            Edit(
                queues._share,
                'txn.put("bodies", key, U64.pack(before + count) + event)',
                'txn.put("bodies", key, U64.pack(max(1, before + count - 1)) + event)',
            )
        ],
        scenario="calm",
        setting=[Put(queues, "_SHARED_BYTES", 200)],
    ),
    Mutation(
        "refusal-taken-for-an-answer",
        "A batch that the store refused is answered as accepted, with the place it would have had.",
        DURABLE,
        [
            Edit(
                Lanes.answered,
                """
                if error is not None:
                    code, text, retry_after_ms = refusal_of(error)
                """,
                """
                if error is not None and batch and type(batch[0]) is Send:
                    for request in batch:
                        answer = Sent(lane.conversation, 1, session.context.stamps.take())
                        session.answer(request.id, wire.sent(request.id, *answer))
                    return True
                if error is not None:
                    code, text, retry_after_ms = refusal_of(error)
                """,
            )
        ],
        scenario="power",
    ),
    Mutation(
        "device-numbers-again",
        "A new device gets the number of one that was revoked.",
        "a device number is never used again",
        [
            Edit(
                accounts.register_device,
                "number = record.next_device",
                "number = max(step.devices(account), default=0) + 1",
            )
        ],
        scenario="devices",
    ),
]
