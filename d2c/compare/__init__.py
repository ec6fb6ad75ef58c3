"""Comparing: a grid of runs in one table, what people prefer of it, and what it costs."""
