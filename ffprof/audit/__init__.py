"""Plan, run, record and store an audit."""
