"""What can be asked while a model reasons."""
