"""The log engine `simulated`: the contract of durability at its worst, in memory."""
