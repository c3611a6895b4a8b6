"""What a learning study says: its rows, verdicts on accuracy, and the gap over classes."""
