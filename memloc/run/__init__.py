"""Carrying a plan out: what there is to do (planner, pending), how (trial_run), and where it runs (inline, ray)."""
