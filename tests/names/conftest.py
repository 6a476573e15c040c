from __future__ import annotations

import sys
from pathlib import Path

# The kits lie beside the tests: these tests' own, and the runtime's.
HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "runtime")]
