"""A sweep as a job of a batch system: what is written and submitted. Nothing here runs a sweep."""
