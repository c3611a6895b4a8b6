"""What is stored: the schemas of result files, and how they are written and read."""
