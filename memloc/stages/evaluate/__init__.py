"""Evaluation of one checkpoint in every mask mode (paper §6.2)."""
