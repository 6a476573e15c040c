"""The OS process of one piece of work in Python: ENGINE WORK COUNT WIDTH WARM_UP; prints JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from palaver.supervisors.cli.bench.runtime.results import Work, WorkFailed


def works_of(engine: str) -> dict[str, Work]:
    """Return what an engine can do."""
    # Each is imported only where it is used: its modules would weigh on the others' memory.
    if engine in ("palaver", "uvloop", "default_gc"):
        from palaver.supervisors.cli.bench.runtime import palaver_engine

        return palaver_engine.works(uvloop=engine == "uvloop", default_gc=engine == "default_gc")
    if engine == "asyncio":
        from palaver.supervisors.cli.bench.runtime import asyncio_engine

        return asyncio_engine.works()
    if engine == "pykka":
        from palaver.supervisors.cli.bench.runtime import pykka_engine

        return pykka_engine.works()
    if engine in ("xoscar", "xoscar_ref"):
        from palaver.supervisors.cli.bench.runtime import xoscar_engine

        return xoscar_engine.works(local=engine == "xoscar")
    if engine == "thespian":
        from palaver.supervisors.cli.bench.runtime import thespian_engine

        return thespian_engine.works()
    raise WorkFailed(f"no engine is named {engine!r}")


def main(arguments: Sequence[str]) -> int:
    """Do the work; 0, or 1 with the reason as the last line on standard error."""
    engine, name, *numbers = arguments
    count, width, warm_up = map(int, numbers)
    try:
        work = works_of(engine)[name]
        if warm_up:
            work(warm_up, min(width, warm_up))
        result = work(count, width)
    except WorkFailed as failed:
        print(failed, file=sys.stderr)
        return 1
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
