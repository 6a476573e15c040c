"""When two failures are the same one: the same type, and the same statement but for its numbers."""

from __future__ import annotations

import re
from pathlib import PurePath
from types import TracebackType
from typing import Final

__all__ = ["signature"]

MAX_TEXT: Final = 300

# Numbers, hexadecimal addresses, and what is quoted: it is what a schedule changes in a statement.
_VARIES: Final = re.compile(r"0x[0-9a-f]+|-?\d+(?:[._]\d+)*(?:e[+-]?\d+)?", re.IGNORECASE)


def signature(failure: BaseException) -> str:
    """A text that is equal for failures that are the same one.

    The type, and the first line of what it says without its numbers; of an exception that says
    nothing, as a bare ``assert``, the place where it was raised.
    """
    if isinstance(failure, BaseExceptionGroup):
        inner = sorted({signature(one) for one in failure.exceptions})
        return f"{type(failure).__qualname__}[{', '.join(inner)}]"
    said = getattr(failure, "what", None)  # a violated statement has its words there
    if not isinstance(said, str) or not said:
        said = next(iter(str(failure).strip().splitlines()), "")
    said = _VARIES.sub("#", said)[:MAX_TEXT]
    return f"{type(failure).__qualname__}: {said or _place(failure.__traceback__)}"


def _place(traceback: TracebackType | None) -> str:
    if traceback is None:
        return ""
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    code = traceback.tb_frame.f_code
    return f"{PurePath(code.co_filename).name}:{traceback.tb_lineno} in {code.co_qualname}"
