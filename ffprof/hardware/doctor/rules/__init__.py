"""Rules that judge facts: pure functions, one for each topic, by subject."""
