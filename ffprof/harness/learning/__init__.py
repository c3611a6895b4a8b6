"""Training of one workload to its last epoch, and what it scores."""
