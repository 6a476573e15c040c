"""A node inside other programs: beside synchronous code in a thread, or alone."""
