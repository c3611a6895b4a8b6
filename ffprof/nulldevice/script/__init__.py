"""What rides along in a user's own training script: it counts steps, watches memory, tells."""
