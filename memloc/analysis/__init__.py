"""Answers from a store, for any paper: SQL, status, findings."""
