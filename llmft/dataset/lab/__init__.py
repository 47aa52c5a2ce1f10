"""Families of small verifiable tasks, made by rule from a seed."""
