from __future__ import annotations

import sys
from pathlib import Path

# The helpers of `cluster_cli_kit.py`, and those of the command's tests.
sys.path += [str(Path(__file__).parent), str(Path(__file__).parent.parent / "cli")]
