"""Networks as chains of named layer groups, their gates, and the dropouts that act between groups.

Nothing is imported here, because the configuration of a network (`architectures/NAME/config.py`) needs no torch.
"""
