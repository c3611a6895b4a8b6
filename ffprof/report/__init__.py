"""From a record to something to read, one exporter a file. Never imports torch."""
