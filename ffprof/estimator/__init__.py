"""What a training step needs on a GPU that is not there: memory and time, estimated."""
