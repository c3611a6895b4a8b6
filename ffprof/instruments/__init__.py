"""What reads a clock or a memory counter, each with a null or replayed twin for tests."""
