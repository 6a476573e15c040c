"""`palaver bench runtime`: the same work on Palaver's actors and on others, in one run."""
