"""Another model's opinion of an answer."""
