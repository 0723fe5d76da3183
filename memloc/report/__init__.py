"""The report of a store: the scorecard, then every figure and table of the paper that there are data for."""
