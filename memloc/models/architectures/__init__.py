"""The architectures, a folder each: the folder's name is the model's in a configuration.

`config.py` says which images fit and imports no torch; `network.py` holds `Architecture`, the network.
"""
