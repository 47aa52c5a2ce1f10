"""Samplers: completions of prompts, drawn from the policy."""
