"""What a good answer in a conversation is made of, as far as rules can tell."""
