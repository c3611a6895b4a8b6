"""Frontiers: workloads at many sizes, and which of them are worth measuring."""
