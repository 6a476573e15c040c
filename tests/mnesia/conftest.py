from __future__ import annotations

import sys
from pathlib import Path

# The comparison lies beside the tests.
sys.path[:0] = [str(Path(__file__).parent)]
