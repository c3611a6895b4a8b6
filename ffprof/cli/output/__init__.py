"""What commands do once their words are read: progress, tables, exit codes."""
