"""Forms that a report takes, one file each."""
