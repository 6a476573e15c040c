"""The beginning of a connection: HELLO, perhaps a sign-up, then AUTH by a signed challenge.

========== =====================================================
state      what may come
========== =====================================================
new        HELLO
welcomed   CODE, SIGNUP, AUTH, and HELLO again for another nonce
verifying  nothing; the device's key is being read
========== =====================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from palaver.actors.chat.accounts import RequestCode, SignUpAnswer, VerifyCode
from palaver.actors.chat.messages import Ask
from palaver.actors.chat.names import ACCOUNTS
from palaver.actors.chat.queries import Login
from palaver.actors.chat.refusals import RequestTimeout, refusal_of
from palaver.transport import wire
from palaver.transport.wire import CloseCode, ErrorCode

if TYPE_CHECKING:
    from palaver.actors.chat.session import Continuation, Session

__all__ = ["REQUESTS", "Handshake"]

REQUESTS = frozenset({wire.Hello, wire.Code, wire.SignUp, wire.Auth})

_NEW, _WELCOMED, _VERIFYING = range(3)


class Handshake:
    """What a session knows before it knows whose it is; dropped afterwards."""

    __slots__ = ("_nonce", "_session", "_state")

    def __init__(self, session: Session) -> None:
        self._session = session
        self._state = _NEW
        self._nonce = b""

    def take(self, request: wire.Request) -> None:
        """Do what a request asks, if it may come now."""
        if isinstance(request, wire.Hello):
            self._hello(request)
        elif self._state == _WELCOMED and isinstance(request, wire.Code):
            self._code(request)
        elif self._state == _WELCOMED and isinstance(request, wire.SignUp):
            self._sign_up(request)
        elif self._state == _WELCOMED and isinstance(request, wire.Auth):
            self._authenticate(request)
        else:
            session = self._session
            session.context.stats.bad_input["not_authenticated"] += 1
            text = "say HELLO first" if self._state == _NEW else "authenticate first"
            session.answer_error(request.id, ErrorCode.NOT_AUTHENTICATED, text)

    def _hello(self, request: wire.Hello) -> None:
        session = self._session
        if wire.PROTOCOL_VERSION not in request.versions:
            text = f"this server speaks version {wire.PROTOCOL_VERSION}"
            session.answer_error(request.id, ErrorCode.UNSUPPORTED_VERSION, text)
            return
        if self._state == _VERIFYING:
            text = "authentication is under way"
            session.answer_error(request.id, ErrorCode.BAD_REQUEST, text)
            return
        # Each HELLO draws a new nonce: a signature over an older one proves nothing.
        self._nonce = session.random.randbytes(wire.NONCE_BYTES)
        self._state = _WELCOMED
        context = session.context
        limits = context.announced_limits()
        op = wire.welcome(request.id, wire.PROTOCOL_VERSION, context.server, self._nonce, limits)
        session.answer(request.id, op)

    # -- sign-up -----------------------------------------------------------------------------------

    def _code(self, request: wire.Code) -> None:
        session = self._session
        tag = session.expect(ACCOUNTS, self._sign_up_answer(request.id))
        session.send(ACCOUNTS, RequestCode(session.pid, tag, request.phone, session.address))

    def _sign_up(self, request: wire.SignUp) -> None:
        session = self._session
        tag = session.expect(ACCOUNTS, self._sign_up_answer(request.id))
        session.send(
            ACCOUNTS,
            VerifyCode(
                session.pid,
                tag,
                request.phone,
                request.code,
                request.public_key,
                request.device_name,
            ),
        )

    def _sign_up_answer(self, request_id: int) -> Continuation:
        session = self._session

        def go_on(answer: SignUpAnswer | None, error: BaseException | None) -> None:
            if answer is None:
                session.answer_error(request_id, *refusal_of(error or RequestTimeout()))
            elif answer.code is not None:
                session.answer_error(request_id, answer.code, answer.text, answer.retry_after_ms)
            else:
                session.answer(request_id, wire.ok(request_id, answer.value))

        return go_on

    # -- authentication ----------------------------------------------------------------------------

    def _authenticate(self, request: wire.Auth) -> None:
        self._state = _VERIFYING
        session = self._session
        place = session.context.places.of(request.account)
        tag = session.expect(place, lambda login, error: self._verify(request, login, error))
        ask = Ask(session.pid, tag, "login", (request.account, request.device))
        session.send(place, ask)

    def _verify(self, request: wire.Auth, login: Login, error: BaseException | None) -> None:
        session = self._session
        nonce, self._nonce = self._nonce, b""
        if error is not None:
            self._state = _NEW
            session.answer_error(request.id, *refusal_of(error))
        elif login.revoked:
            self._reject(request, ErrorCode.REVOKED, CloseCode.REVOKED)
        elif login.public_key is None or not _signed(login.public_key, nonce, request):
            self._reject(request, ErrorCode.AUTH_FAILED, CloseCode.AUTH_FAILED)
        else:
            session.enter(request.account, request.device, login, request.id)

    def _reject(self, request: wire.Auth, code: ErrorCode, close: CloseCode) -> None:
        session = self._session
        session.context.stats.login_failures += 1
        text = "this device was revoked" if code is ErrorCode.REVOKED else "authentication failed"
        session.answer_error(request.id, code, text)
        session.hang_up(close, text)


def _signed(public_key: bytes, nonce: bytes, request: wire.Auth) -> bool:
    payload = wire.auth_payload(nonce, request.account, request.device)
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(request.signature, payload)
    except InvalidSignature:
        return False
    return True
