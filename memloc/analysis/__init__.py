"""Answers from what a store holds: SQL, status, estimates' basis."""
