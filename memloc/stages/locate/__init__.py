"""Localization judged by ground truth: which methods find the neurons that hold an example (docs/instruments.md)."""
