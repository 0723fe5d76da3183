"""Networks as chains of named layer groups, their gates, and the dropouts that act between groups.

Nothing is imported here: what a configuration says of a network (`architectures/NAME/config.py`) needs no torch.
"""
