"""What is trained beside frozen weights."""
