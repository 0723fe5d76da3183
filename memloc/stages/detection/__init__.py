"""How well each score of an example finds the mislabeled ones (paper §6.1)."""
