"""`make conform-mnesia`: the tables beside Mnesia, for as many programs as PROGRAMS says.

The environment: PROGRAMS (random programs, 2000 if not given), SEED (of the first round; drawn if
not given, and printed).
"""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent)]

from mnesia_conform.beam import missing  # noqa: E402 - the path comes first
from mnesia_conform.search import conform  # noqa: E402


def main() -> int:
    """Run; the exit status is 1 if a program failed, 2 if there is no Mnesia."""
    why = missing()
    if why is not None:
        print(why, file=sys.stderr)
        return 2
    programs = int(os.environ.get("PROGRAMS") or 2000)
    seed = int(os.environ.get("SEED") or random.randrange(1_000_000))
    return conform(programs, seed)


if __name__ == "__main__":
    sys.exit(main())
