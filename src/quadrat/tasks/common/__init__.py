"""What all tasks share: the contract, classes, layers, counts and metrics."""
