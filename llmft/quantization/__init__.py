"""How weights are held in fewer bits."""
