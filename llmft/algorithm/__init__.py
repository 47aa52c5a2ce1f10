"""What is trained, on which data, with which loss; the trainer drives it and knows none of it."""
