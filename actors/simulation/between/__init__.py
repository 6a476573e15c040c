"""Processes of several simulated nodes, and what connects them."""
