"""Seeing in: a node as data, the closer look at one server (`sys`), hot code.

* `observatory.Observatory`: figures, processes, the tree, one process in full, states.
* `sys`: OTP's `sys`: state, suspension, traces, statistics.
* `hot_code`: new code in a running system, the state kept.
"""
