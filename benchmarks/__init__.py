"""Measurements of the engines against plain references, and studies of the estimators."""
