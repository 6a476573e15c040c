"""A Thespian program, moved over: only the lines marked with an arrow are new.

Run it with `python examples/thespian_program.py`.
"""

from __future__ import annotations

from thespian.actors import (
    Actor,
    ActorExitRequest,
    ActorSystem,
    ActorTypeDispatcher,
    ChildActorExited,
    PoisonMessage,
)
from thespian.troupe import troupe

from palaver.actors.thespian import use  # <-


class Order:
    def __init__(self, customer: str, drink: str) -> None:
        self.customer = customer
        self.drink = drink


@troupe(max_count=3)
class Barista(ActorTypeDispatcher):
    """Several of them, behind one address."""

    def receiveMsg_Order(self, order: Order, sender: object) -> None:
        self.send(sender, f"{order.drink} for {order.customer}")


class Cafe(ActorTypeDispatcher):
    def receiveMsg_str(self, message: str, sender: object) -> None:
        if message == "open":
            self.baristas = self.createActor(Barista)
            self.waiting: dict[str, object] = {}
            self.send(sender, "the café is open")
        elif message == "close":
            self.owner = sender
            self.send(self.baristas, ActorExitRequest())
        else:
            customer = message.rpartition(" ")[2]
            self.send(self.waiting.pop(customer), message)

    def receiveMsg_Order(self, order: Order, sender: object) -> None:
        if order.drink == "tea":
            raise LookupError("there is no tea here")
        self.waiting[order.customer] = sender
        self.send(self.baristas, order)

    def receiveMsg_ChildActorExited(self, message: ChildActorExited, sender: object) -> None:
        self.send(self.owner, "the café is closed")


class Sleeper(Actor):
    def receiveMessage(self, message: object, sender: object) -> None:
        self.send(sender, "one of many")


def main() -> None:
    use()  # <- makes the name known
    system = ActorSystem("palaverBase")  # <- was: "multiprocTCPBase"
    try:
        cafe = system.createActor(Cafe, globalName="cafe")
        print(system.ask(cafe, "open", 5))
        for customer, drink in (("Ann", "coffee"), ("Bob", "tea"), ("Eve", "cocoa")):
            answer = system.ask(cafe, Order(customer, drink), 5)
            if isinstance(answer, PoisonMessage):
                answer = f"refused: {answer.poisonMessage.drink}"
            print(answer)
        sleepers = [system.createActor(Sleeper) for _ in range(1000)]
        print(f"{len(sleepers)} actors in one process: {system.ask(sleepers[-1], '?', 5)}")
        print(system.ask(cafe, "close", 5))
    finally:
        system.shutdown()


if __name__ == "__main__":
    main()
