"""The plain versions of the engines in memloc/stages: what a competent researcher writes, one thing after the other.

Tests compare the engines with them; benchmarks time the engines against them.
"""
