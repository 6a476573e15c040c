"""The chat in a simulated world: its nodes, its people, its promises."""
