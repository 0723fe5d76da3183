"""Answers from a store, for any paper: SQL, derived views, status, settings with their rows."""
