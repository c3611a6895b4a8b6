"""From a record to something to read; never imports torch."""
