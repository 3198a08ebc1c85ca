"""Schedulers: pure functions from what is known to a plan."""
