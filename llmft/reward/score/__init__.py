"""The reward lab: recorded completions are scored, and what a reward says about them is laid out."""
