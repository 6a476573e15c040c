import sys
from pathlib import Path

# The helpers of the runtime's tests (`runtime_kit.py`).
sys.path.append(str(Path(__file__).parent.parent / "runtime"))
