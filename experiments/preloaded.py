"""Imported by the process that stages are forked from, and by nobody else: it imports what they need."""

from experiments.worker import preload

preload()
