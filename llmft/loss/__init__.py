"""What one token costs: pure functions of `[B, T]` tensors, neither masked nor averaged."""
