"""What processes of several nodes do to each other at random, and whether OTP's rules held.

Actors on three nodes send, call, link, monitor and exit as the tape has it, while hosts crash and
networks break. Each keeps a diary; at the end, after calm, the diaries have to agree.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from palaver.actors.distribution.peer import Peer, WatchedFrom
from palaver.actors.runtime import (
    KILL,
    KILLED,
    NOCONNECTION,
    NOPROC,
    CallFailed,
    CallTimeout,
    Down,
    Exit,
    GenServer,
    NodeDown,
    Pid,
    Ref,
    Response,
)
from palaver.actors.runtime.links import linked
from palaver.actors.simulation import Fabric, Faults, Host, RemotePid, World

FAULTS = Faults(
    crash=0.01, power=0.01, kill=0.0, partition=0.01, oneway=0.01, clog=0.02, reset=0.02,
    pause=0.01, jump=0.01,
)  # fmt: skip

Token = tuple[str, int, int]
"""Who an actor is, whatever its pid: host, incarnation, number."""


@dataclass
class Diary:
    """What one actor has seen and done."""

    token: Token
    # To whom, over which connection: the numbers sent; None: there was no connection.
    sent: dict[tuple[Token, Peer | None], list[int]] = field(default_factory=dict)
    got: dict[Token, list[int]] = field(default_factory=dict)
    # By monitor: whom, over which connection, and how often it has told what.
    watched: dict[Ref, tuple[Token, Peer | None]] = field(default_factory=dict)
    downs: dict[Ref, list[object]] = field(default_factory=dict)
    # Links of its own making that have brought no exit yet: to whom, over which connection.
    linked: dict[Any, tuple[Token, Peer | None]] = field(default_factory=dict)
    ever_linked: set[Token] = field(default_factory=set)
    ever_unlinked: set[Token] = field(default_factory=set)
    asked: int = 0
    answered: int = 0
    requests: dict[Ref, tuple[Token, int]] = field(default_factory=dict)


class Actor(GenServer):
    """Does what it is told, and writes it down."""

    def init(self, story: Story, token: Token) -> None:
        self.trap_exit = True
        self.story = story
        self.diary = story.diaries[token] = Diary(token)
        story.actors[token] = self.pid
        here = story.fabric.distribution(self.node)
        story.tokens[here.name, here.creation, self.pid.serial] = token

    def peer(self, address: Any) -> Peer | None:
        return self.story.fabric.distribution(self.node).peer(address.node_name)

    async def handle_cast(self, message: Any) -> None:
        step, address, token, number = message
        diary = self.diary
        if step == "send":
            diary.sent.setdefault((token, self.peer(address)), []).append(number)
            self.send(address, ("hello", diary.token, token, number))
        elif step == "call":
            diary.asked += 1
            try:
                answer = await self.call(address, (token, number), timeout_s=3.0)
            except (NodeDown, CallTimeout):
                self.story.world.reach("a call was lost")
            except CallFailed:
                self.story.world.reach("a call failed")
            else:
                assert answer == (token, number), f"{answer} is the answer to something else"
            diary.answered += 1
        elif step == "request" and number % 7:
            diary.requests[self.send_request(address, (token, number))] = (token, number)
        elif step == "link":
            diary.linked.setdefault(address, (token, self.peer(address)))
            diary.ever_linked.add(token)
            self.link(address)
        elif step == "unlink":
            diary.linked.pop(address, None)
            diary.ever_unlinked.add(token)
            self.unlink(address)
        elif step == "monitor":
            peer = self.peer(address)
            diary.watched[self.monitor(address)] = (token, peer)
        elif step == "demonitor" and diary.watched:
            ref = list(diary.watched)[number % len(diary.watched)]
            self.demonitor(ref)
            del diary.watched[ref]
            diary.downs.pop(ref, None)
        elif step == "kill":
            self.exit(address, KILL)

    def handle_call(self, request: Any, from_: Any) -> Any:
        token, number = request
        assert token == self.diary.token, f"{self.diary.token} got a call of {token}"
        if number % 7 == 0:
            self.story.kept.append(from_)  # never answered, or much later
            return self.story.noreply
        return (token, number)

    def handle_info(self, message: Any) -> None:
        diary = self.diary
        if isinstance(message, Down):
            assert message.ref in diary.watched, "a monitor that was ended has told something"
            diary.downs.setdefault(message.ref, []).append(message.reason)
        elif isinstance(message, Exit):
            sender = message.sender
            assert isinstance(sender, RemotePid)
            if diary.linked.pop(sender, None) is None:
                token = self.story.tokens[sender.node_name, sender.creation, sender.serial]
                theirs = self.story.diaries[token].ever_linked
                assert token in diary.ever_linked or diary.token in theirs, (
                    f"{message}, and there was no link"
                )
            assert message.reason in (NOCONNECTION, NOPROC, KILLED), message
        elif isinstance(message, Response):
            asked = diary.requests.pop(message.ref)  # one answer each
            assert message.error is not None or message.value == asked
        else:
            _, sender, target, number = message
            assert target == diary.token, f"{diary.token} got a message to {target}"
            diary.got.setdefault(sender, []).append(number)


class Story:
    """One run."""

    def __init__(self, world: World, noreply: Any) -> None:
        self.world = world
        self.noreply = noreply
        self.fabric = Fabric(net_ticktime_s=4.0)
        self.diaries: dict[Token, Diary] = {}
        self.actors: dict[Token, Pid] = {}
        self.tokens: dict[tuple[str, int, int], Token] = {}
        self.kept: list[Any] = []
        # Addresses by the node that uses them, with whom they mean; those of the dead as well.
        self.known: dict[Any, list[tuple[Any, Token]]] = {}
        self.number = 0
        self.hosts = [world.host(name, self.boot) for name in "abc"]

    async def boot(self, host: Host) -> None:
        node = await host.node()
        await self.fabric.join(node)
        for number in range(2):
            await node.start_server(Actor, self, (host.name, host.incarnation, number))

    def step(self, chance: random.Random) -> None:
        """Let somebody do something."""
        living = [host for host in self.hosts if host.alive and host.nodes]
        if not living:
            return
        host = chance.choice(living)
        node = host.nodes[0]
        mine = [token for token, pid in self.actors.items() if pid in node.table]
        if not mine:
            for number in range(2):
                node.spawn(
                    Actor, self, (host.name, host.incarnation, 10 + self.number * 10 + number)
                )
            self.number += 1
            return
        known = self.known.setdefault(node, [])
        others = [(token, pid) for token, pid in self.actors.items() if token[0] != host.name]
        if others and (not known or chance.random() < 0.5):
            token, pid = chance.choice(others)
            known.append((self.fabric.remote(on=node, pid=pid), token))
        if not known:
            return
        address, token = chance.choice(known)
        steps = ["send"] * 8 + ["call"] * 3 + ["link", "unlink"] * 2
        steps += ["monitor"] * 3 + ["request"] * 3 + ["demonitor", "kill"]
        self.number += 1
        node.cast(
            self.actors[chance.choice(mine)], (chance.choice(steps), address, token, self.number)
        )

    async def act(self) -> None:
        """A minute of faults, and then calm."""
        world = self.world
        world.nemesis(FAULTS)
        await world.start_all()
        chance = world.tape.random("steps")
        for _ in range(400):
            self.step(chance)
            await world.sleep(chance.choice([0.0, 0.001, 0.01, 0.1, 0.3]))
        await world.calm()
        await world.eventually(self.together, "all nodes are connected", within_s=60.0)
        await world.sleep(70.0)  # more than the longest pause

    def together(self) -> bool:
        return self.fabric.connected(*(host.nodes[0] for host in self.hosts if host.nodes))

    # -- the rules -----------------------------------------------------------------------------

    def check(self) -> None:
        for diary in self.diaries.values():
            self.check_messages(diary)
        for token in self.living():
            diary = self.diaries[token]
            assert diary.asked == diary.answered, f"{token} still waits for an answer"
            assert not diary.requests, f"requests of {token} were never answered"
            self.check_monitors(diary)
            for target, peer in diary.linked.values():
                if token in self.diaries[target].ever_unlinked:
                    continue  # the other side may have undone it
                assert peer is not None, f"{token} is linked to {target} without a connection"
                assert self.is_up(token, peer), f"{token} heard nothing of a lost connection"
                assert target in self.living(), f"{token} heard nothing of the end of {target}"
        self.check_links()

    def living(self) -> list[Token]:
        return [
            token
            for token, pid in self.actors.items()
            if pid.process_ is not None
            and any(pid in node.table for host in self.hosts for node in host.nodes)
        ]

    def check_messages(self, sender: Diary) -> None:
        """What was sent over one connection arrives in order, up to where that was lost."""
        living = self.living()
        for target in {token for token, _ in sender.sent}:
            got = list(self.diaries[target].got.get(sender.token, ()))
            for (token, peer), sent in sender.sent.items():
                if token != target:
                    continue
                if peer is None:
                    assert not set(sent) & set(got), "what was sent to nobody has arrived"
                    continue
                count = 0
                while count < len(sent) and count < len(got) and got[count] == sent[count]:
                    count += 1
                assert not set(sent[count:]) & set(got), (
                    f"{sender.token} sent {target} {sent}, and it got {got}"
                )
                del got[:count]
                if count < len(sent):
                    self.world.reach("messages were lost")
                    assert not self.is_up(sender.token, peer) or target not in living, (
                        f"{target} lives, the connection was never lost, and it never got "
                        f"{sent[count:]} of {sender.token}"
                    )
            assert not got, f"{target} got {got} of {sender.token}, in another order or twice"

    def is_up(self, token: Token, peer: Peer) -> bool:
        """Whether a connection of an actor's node is there to this day."""
        pid = self.actors[token]
        if token not in self.living() or pid.process_ is None:
            return False
        return self.fabric.distribution(pid.process_.scheduler.node).is_up(peer)

    def check_monitors(self, diary: Diary) -> None:
        living = self.living()
        for ref, (token, peer) in diary.watched.items():
            downs = diary.downs.get(ref, [])
            assert len(downs) <= 1, f"a monitor has told {downs}"
            up = peer is not None and self.is_up(diary.token, peer)
            assert bool(downs) == (token not in living or not up), (
                f"the monitor of {token} by {diary.token} has told {downs}"
            )
            if downs and downs[0] is NOCONNECTION:
                self.world.reach("noconnection")
                assert not up, "noconnection, and the connection is there"
            elif downs:
                assert downs[0] in (NOPROC, KILLED), downs
                assert token not in living, f"{token} lives, and is {downs[0]}"

    def check_links(self) -> None:
        """Who is linked, is so on both sides, and to somebody who lives."""
        nodes = {node.name: node for host in self.hosts for node in host.nodes}
        ends: set[tuple[Pid, Pid]] = set()
        for node in nodes.values():
            for pid, process in node.table.items():
                for watcher in process.watchers or ():
                    if isinstance(watcher, WatchedFrom):
                        assert watcher.distribution.is_up(watcher.peer), f"{watcher} was left"
                for other in linked(process):
                    if not isinstance(other, RemotePid):
                        continue
                    there = self.fabric.distribution(nodes[other.node_name])
                    assert there.creation == other.creation, f"{pid} is linked to a dead node's"
                    ends.add((pid, there.directory.own_pid(other.serial)))
        for one, other in ends:
            self.world.reach("links were left")
            assert (other, one) in ends, f"{one} is linked to {other}, and not the other way round"
            assert other.process_ is not None
