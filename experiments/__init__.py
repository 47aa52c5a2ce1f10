"""Tables of experiments, each made and re-made by one command: ``python -m experiments.table NAME``."""
