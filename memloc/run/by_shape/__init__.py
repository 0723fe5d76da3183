"""What computing takes by its shapes alone: operations, bytes moved, kernels, memory. Nothing is computed for it."""
