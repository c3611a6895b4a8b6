"""Checks: baselines found, measured or estimated again, and held against."""
