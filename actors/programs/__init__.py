"""Operating system programs as supervised processes, after Erlang's ports."""
