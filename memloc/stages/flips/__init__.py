"""Neuron flipping: how many neurons carry an example's prediction (paper §6.1)."""
