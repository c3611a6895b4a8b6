"""The frontier of memory and throughput: its points, what dominates what, and what to measure next."""
