from __future__ import annotations

import sys
from pathlib import Path

# The kit of these tests, and the runtime's.
sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "runtime"))
