"""A network that a function of the user's makes (`python:nets.py:make`, `python:package.module:make`)."""
