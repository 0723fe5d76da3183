"""The loop that makes a training's checkpoints, and the pieces that it shares with stages that train again."""
