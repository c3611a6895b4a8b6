"""Searches for the largest size of a workload that fits."""
