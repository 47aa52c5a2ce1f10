"""Off-policy rows that stand beside the policy's own in a group."""
