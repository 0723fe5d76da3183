"""A stage from outside the package; see tests/run/test_new_stage.py."""
