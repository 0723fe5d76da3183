"""Keyed mutants of the code that decides what runs and what exists, against the tests that need no Ray."""
