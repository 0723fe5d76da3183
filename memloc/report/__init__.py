"""The report of a store: the scorecard, then every figure and table of the paper for which there are data."""
