"""A step on fake tensors, followed operator by operator on a device that stands in for the GPU."""
