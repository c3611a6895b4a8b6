"""One trial, inside its process: fair by construction."""
