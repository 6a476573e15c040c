"""Signing up: one-time codes, and the registration of devices.

Codes live in this process only: who waits for one when the node restarts asks for another. Asking
is limited per phone and per address, guessing per code; the answer to a request for a code is
always the same, so that nobody learns which numbers are known.
"""

from __future__ import annotations

from collections import OrderedDict
from hmac import compare_digest
from typing import Any, NamedTuple, Protocol

import phonenumbers

from palaver.actors.chat.messages import Append, Applied
from palaver.actors.chat.names import Places
from palaver.actors.chat.owned import Owned
from palaver.actors.chat.state import commands as cmd
from palaver.actors.chat.stats import ChatStats
from palaver.actors.runtime import From, Pid, ProcessContext
from palaver.transport.wire import ErrorCode

__all__ = [
    "Accounts",
    "CodeSender",
    "InvalidPhone",
    "IssueCode",
    "RequestCode",
    "SignUpAnswer",
    "SignUpLimits",
    "VerifyCode",
    "canonical_phone",
]


class CodeSender(Protocol):
    """Brings a one-time code to a phone: a text message gateway, a terminal, a test."""

    async def send(self, phone: str, code: str) -> None:
        """Send `code` to `phone` (E.164); raising means that it could not be sent."""


class SignUpLimits(NamedTuple):
    """How much signing up is allowed."""

    code_ttl_s: float = 300.0
    attempts_per_code: int = 5
    codes_per_phone_per_hour: int = 5
    codes_per_address_per_hour: int = 30
    remembered: int = 100_000


class InvalidPhone(ValueError):
    """A phone number that does not exist in E.164's numbering plan."""


def canonical_phone(phone: str) -> str:
    """A phone number in E.164 form.

    Raises:
        InvalidPhone: it is not a possible number with its country code.
    """
    try:
        parsed = phonenumbers.parse(phone, None)
    except phonenumbers.NumberParseException as error:
        raise InvalidPhone(f"{phone!r} is not a phone number: {error}") from error
    if not phonenumbers.is_possible_number(parsed):
        raise InvalidPhone(f"{phone!r} is not a possible phone number")
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)


class RequestCode(NamedTuple):
    """Send a code to a phone; answered by `SignUpAnswer`."""

    reply_to: Pid
    tag: Any
    phone: str
    address: str


class VerifyCode(NamedTuple):
    """Register a device with the code that was sent; answered by `SignUpAnswer`."""

    reply_to: Pid
    tag: Any
    phone: str
    code: str
    public_key: bytes
    device_name: str


class IssueCode(NamedTuple):
    """Call: make a code for an operator to hand over; the reply is the code."""

    phone: str


class SignUpAnswer(NamedTuple):
    """What came of it: a value, or an error of the wire."""

    tag: Any
    value: Any
    code: ErrorCode | None = None
    text: str = ""
    retry_after_ms: int | None = None


class _Pending(NamedTuple):
    code: str
    expires_s: float
    attempts_left: int
    used_by: bytes | None


class Accounts(Owned):
    """Issues and verifies one-time codes."""

    __slots__ = ("_asked", "_limits", "_pending", "_places", "_sender", "_stats")

    def init(
        self, places: Places, sender: CodeSender, limits: SignUpLimits, stats: ChatStats
    ) -> None:
        """Send codes by `sender`, within `limits`."""
        self._places = places
        self._sender = sender
        self._limits = limits
        self._stats = stats
        self._pending: OrderedDict[str, _Pending] = OrderedDict()
        self._asked: OrderedDict[str, list[float]] = OrderedDict()

    def handle_call(self, request: Any, from_: From) -> Any:
        """Issue a code for an operator."""
        if isinstance(request, IssueCode):
            return self._new_code(request.phone)
        return super().handle_call(request, from_)

    def handle_info(self, message: Any) -> None:
        """Take a request for a code, a code to verify, or the registration's outcome."""
        match message:
            case RequestCode():
                self._request(message)
            case VerifyCode():
                self._verify(message)
            case Applied(VerifyCode() as request, device, error):
                self._registered(request, device, error)
            case _:
                super().handle_info(message)

    def _request(self, request: RequestCode) -> None:
        try:
            phone = canonical_phone(request.phone)
        except InvalidPhone as error:
            self._answer(request, None, ErrorCode.BAD_REQUEST, str(error))
            return
        limits = self._limits
        wait_s = max(
            self._wait_s("phone " + phone, limits.codes_per_phone_per_hour),
            self._wait_s("address " + request.address, limits.codes_per_address_per_hour),
        )
        if wait_s > 0:
            text = "too many codes were asked for; wait"
            self._answer(request, None, ErrorCode.RATE_LIMITED, text, int(wait_s * 1000) + 1)
            return
        now_s = self.clock.monotonic()
        for key in ("phone " + phone, "address " + request.address):
            self._asked.setdefault(key, []).append(now_s)
            self._asked.move_to_end(key)
            while len(self._asked) > limits.remembered:
                self._asked.popitem(last=False)
        code = self._new_code(phone)
        # The sender may take seconds: a process of its own waits for it.
        self.spawn(_send_code, self._sender, phone, code)
        self._stats.codes_sent += 1
        self._answer(request, None)

    def _wait_s(self, key: str, per_hour: int) -> float:
        """How long until another code may be asked for, in seconds; 0 if it may be at once."""
        now_s = self.clock.monotonic()
        asked = [when_s for when_s in self._asked.get(key, ()) if when_s > now_s - 3600.0]
        if not asked:
            self._asked.pop(key, None)
            return 0.0
        self._asked[key] = asked
        return max(0.0, asked[0] + 3600.0 - now_s) if len(asked) >= per_hour else 0.0

    def _new_code(self, phone: str) -> str:
        code = f"{self.random.randrange(1_000_000):06d}"
        expires_s = self.clock.monotonic() + self._limits.code_ttl_s
        self._pending[phone] = _Pending(code, expires_s, self._limits.attempts_per_code, None)
        self._pending.move_to_end(phone)
        while len(self._pending) > self._limits.remembered:
            self._pending.popitem(last=False)
        return code

    def _verify(self, request: VerifyCode) -> None:
        pending = self._pending.get(request.phone)
        if pending is None or pending.expires_s < self.clock.monotonic():
            self._pending.pop(request.phone, None)
            text = "no code is waiting for this phone; ask for one"
            self._answer(request, None, ErrorCode.CODE_EXPIRED, text)
            return
        if not compare_digest(pending.code.encode(), request.code.encode()):
            left = pending.attempts_left - 1
            if left > 0:
                self._pending[request.phone] = pending._replace(attempts_left=left)
            else:
                del self._pending[request.phone]
            self._answer(request, None, ErrorCode.CODE_WRONG, f"wrong code; {left} tries left")
            return
        # A code registers one key: the same device may ask again, if the first answer was lost.
        if pending.used_by not in (None, request.public_key):
            text = "this code was used; ask for another"
            self._answer(request, None, ErrorCode.CODE_EXPIRED, text)
            return
        self._pending[request.phone] = pending._replace(used_by=request.public_key)
        command = (
            cmd.REGISTER_DEVICE, request.phone, request.public_key, request.device_name,
            self.clock.time_ms(),
        )  # fmt: skip
        self.send(self._places.of(request.phone), Append(self.pid, request, command))

    def _registered(self, request: VerifyCode, device: int, error: Exception | None) -> None:
        if error is not None:
            code = getattr(error, "code", ErrorCode.UNAVAILABLE)
            self._answer(request, None, ErrorCode(code), str(error))
            return
        self._stats.signups += 1
        self._answer(request, [request.phone, device])

    def _answer(
        self,
        request: RequestCode | VerifyCode,
        value: Any,
        code: ErrorCode | None = None,
        text: str = "",
        retry_after_ms: int | None = None,
    ) -> None:
        answer = SignUpAnswer(request.tag, value, code, text, retry_after_ms)
        self.send(request.reply_to, answer)


async def _send_code(ctx: ProcessContext, sender: CodeSender, phone: str, code: str) -> None:
    await ctx.bridge(sender.send(phone, code))
