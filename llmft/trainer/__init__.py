"""The learner, its checkpoints, the run folder, and what watches a run."""
