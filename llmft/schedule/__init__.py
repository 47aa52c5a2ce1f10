"""How the learning rate moves over the steps of a run."""
