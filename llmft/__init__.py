"""llmft: an experiment suite for fine-tuning language models, composed from small Hydra config groups."""
