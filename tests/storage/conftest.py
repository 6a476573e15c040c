from __future__ import annotations

import sys
from pathlib import Path

# The helpers are also imported by the child processes of these tests, from the same folder.
sys.path.insert(0, str(Path(__file__).parent))
