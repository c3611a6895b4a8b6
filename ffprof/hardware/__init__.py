"""The machine: its fingerprint, its flags, and the cards that budgets are about."""
