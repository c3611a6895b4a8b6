"""What a command sets in motion: planned, run, resumed and recorded. Free of torch."""
