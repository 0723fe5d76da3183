"""A check of memloc on one real GPU, in at most six minutes: what a machine without one cannot tell."""
