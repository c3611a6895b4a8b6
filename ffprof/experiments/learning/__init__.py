"""Learning studies: planned, run, resumed."""
