"""What result files say of what a paper states, in figures and in words."""
