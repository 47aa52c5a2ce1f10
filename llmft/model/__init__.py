"""Causal language models: where they come from and how they score tokens."""
