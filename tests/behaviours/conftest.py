from __future__ import annotations

import sys
from pathlib import Path

# The kits lie beside the tests.
sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "runtime"))
