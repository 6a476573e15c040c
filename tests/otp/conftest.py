from __future__ import annotations

import sys
from pathlib import Path

# The comparison lies beside the tests, and uses the kit of the runtime's tests.
HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "runtime")]
