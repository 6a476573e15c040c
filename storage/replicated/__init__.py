"""A store whose log is kept by several machines: each replica applies it to tables of its own."""
