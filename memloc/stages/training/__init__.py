"""Training: the loop that makes a training's checkpoints, and what everything that trains again shares with it."""
