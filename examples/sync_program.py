"""A program that knows no asyncio, with a node in a thread beside it.

Run it with `python examples/sync_program.py`. Ordinary threads ask a supervised bank; the bank
handles one request at a time, so no lock is needed anywhere.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from palaver.actors.embedding import NodeThread
from palaver.actors.runtime import NOREPLY, From, GenServer
from palaver.supervisors import ChildSpec, Supervisor


class Refused(Exception):
    pass


class Bank(GenServer):
    __slots__ = ("accounts",)

    def init(self) -> None:
        self.accounts: dict[str, int] = {}

    def handle_cast(self, message: tuple[str, int]) -> None:
        name, amount = message
        self.accounts[name] = self.accounts.get(name, 0) + amount

    def handle_call(self, request: tuple[str, ...], from_: From) -> object:
        match request:
            case ("balance", name):
                return self.accounts.get(name, 0)
            case ("withdraw", name, amount):
                left = self.accounts.get(name, 0) - int(amount)
                if left < 0:
                    self.reply_error(from_, Refused(f"{name} has not got {amount}"))
                    return NOREPLY
                self.accounts[name] = left
                return left
        raise ValueError(f"a bank does not understand {request}")


def pay_in(node: NodeThread, name: str) -> int:
    for _ in range(1000):
        node.cast("bank", (name, 1))
    balance: int = node.call("bank", ("balance", name))
    return balance


def main() -> None:
    with NodeThread() as node:
        node.start_server(Supervisor, [ChildSpec("bank", Bank, name="bank")])
        with ThreadPoolExecutor(4) as threads:
            balances = list(threads.map(lambda n: pay_in(node, f"account {n}"), range(4)))
        print("balances:", balances)
        try:
            node.call("bank", ("withdraw", "account 0", "5000"))
        except Refused as error:
            print("refused:", error)
        print("left:", node.call("bank", ("withdraw", "account 0", "400")))


if __name__ == "__main__":
    main()
