"""Audits: workloads measured or estimated under one recipe and one budget."""
