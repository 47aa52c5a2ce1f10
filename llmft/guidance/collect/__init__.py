"""Making a file of traces: ``python -m llmft.guidance.collect``."""
