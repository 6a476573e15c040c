"""Bugs in the client library: what it keeps, when it says so, and what it repeats."""

from __future__ import annotations

from mutation import Edit, Mutation

from palaver.transport.client import reactions
from palaver.transport.client.core import Core
from palaver.transport.client.inbox import Inbox
from palaver.transport.client.outbox import Outbox
from palaver.transport.client.receipts import Receipts
from palaver.transport.client.session import Session

KEPT = "what is sent survives the client"
SHOWN = "each event is shown once"
ORDER = "a sender's messages stay in order"

MUTATIONS = [
    Mutation(
        "acked-before-handled",
        "A position is acknowledged when it arrived, not when the application is past it.",
        "no event is lost by a crash of the client",
        [
            Edit(
                Core.transmit,
                "return self.session.transmit(now_s, self.outbox, self.requests, "
                "self.ack_position)",
                "return self.session.transmit(now_s, self.outbox, self.requests, "
                "self.inbox.received)",
            )
        ],
    ),
    Mutation(
        "position-not-kept",
        "A position is acknowledged, but not kept.",
        SHOWN,
        [
            Edit(
                Core.handled,
                "self.change.position = self.inbox.position",
                "self.ack_position = self.inbox.position - 1",
            )
        ],
    ),
    Mutation(
        "shown-again",
        "What the server sends again on a new connection is shown again.",
        SHOWN,
        [Edit(Inbox.admit, "if event.position <= self.received:", "if False:")],
    ),
    Mutation(
        "in-flight-forgotten",
        "What was in flight when the connection was lost counts as sent.",
        KEPT,
        [
            Edit(
                Outbox.lost,
                """
                for entry in self._in_flight.values():
                    self._make_ready(entry)
                self._in_flight.clear()
                """,
                "self._in_flight.clear()",
            )
        ],
    ),
    Mutation(
        "sent-again-newest-first",
        "What has to be sent again is put on a stack.",
        ORDER,
        [
            Edit(
                Outbox._make_ready,
                "heapq.heappush(self._ready, entry.item.cid)",
                "self._ready.insert(0, entry.item.cid)",
            )
        ],
    ),
    Mutation(
        "sent-again-behind",
        "What has to be sent again is put behind what waits.",
        ORDER,
        [
            Edit(
                Outbox._make_ready,
                "heapq.heappush(self._ready, entry.item.cid)",
                "self._ready.append(entry.item.cid)",
            ),
        ],
        scenario="power",
    ),
    Mutation(
        "new-id-for-a-retry",
        "A message that is sent again after a lost connection gets a new id.",
        "a retry has no second effect",
        [
            Edit(
                Session._pack_command,
                "if packer.add(encode_request(command(entry.item, request_id, low))):",
                """
                item = entry.item
                if entry.attempts or entry.sent_at_s:
                    item = item._replace(cid=item.cid + (1 << 40))
                if packer.add(encode_request(command(item, request_id, low))):
                """,
            )
        ],
    ),
    Mutation(
        "ids-from-one",
        "A client counts its message ids from 1 in each run.",
        "a retry has no second effect",
        [
            Edit(
                Core.__init__,
                "self.next_cid = snapshot.next_cid or first_cid",
                "self.next_cid = max(snapshot.outbox, default=0) + 1",
            )
        ],
    ),
    Mutation(
        "low-of-the-newest",
        "The lowest id that is waited for is taken to be that of the message at hand.",
        "a retry has no second effect",
        [
            Edit(
                Session._pack_commands,
                "if entry is None or not self._pack_command(packer, entry, outbox.low()):",
                "if entry is None or not self._pack_command(packer, entry, entry.item.cid):",
            )
        ],
    ),
    Mutation(
        "outbox-not-read",
        "A client that starts begins with an empty outbox.",
        KEPT,
        [Edit(Outbox.__init__, "for item in sorted(items):", "for item in ():")],
    ),
    Mutation(
        "refused-for-a-moment-is-refused",
        "A message that the server cannot take just now is given up.",
        KEPT,
        [
            Edit(
                reactions._command_refused,
                "if isinstance(error, TransientError | InternalError):",
                "if isinstance(error, InternalError):",
            )
        ],
        scenario="power",
    ),
    Mutation(
        "receipts-shown-again",
        "A receipt that says nothing new is shown again.",
        "receipts are true, and shown once",
        [Edit(Receipts._raise, "if after != before:", "if True:")],
    ),
    Mutation(
        "read-by-one-is-read-by-all",
        "A message counts as read when the first member has read it.",
        "receipts are true, and shown once",
        [
            Edit(
                Receipts._progress,
                "delivered_mark, read_mark = followed.lowest()",
                """
                delivered_mark, read_mark = followed.lowest()
                delivered_mark = max((mark[0] for mark in followed.marks.values()), default=0)
                read_mark = max((mark[1] for mark in followed.marks.values()), default=0)
                """,
            )
        ],
        scenario="group",
    ),
]
