"""`memloc detect` beside cleanlab, on labels that were made wrong and on labels that people got wrong."""
