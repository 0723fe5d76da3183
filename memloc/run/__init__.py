"""Carrying a plan out: what there is to do (plan), what one worker does (trial), and where it runs (inline, ray)."""
