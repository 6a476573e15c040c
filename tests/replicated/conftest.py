from __future__ import annotations

import sys
from pathlib import Path

# The toy machine of the storage tests is this engine's too.
sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "storage"))
sys.path.insert(0, str(Path(__file__).parent.parent / "jetstream"))
