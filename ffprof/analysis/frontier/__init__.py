"""The frontier of memory and throughput: points, who dominates whom, and what to measure next."""
