"""Behaviours beyond `GenServer`: state machines, stages with demand, tasks."""
