"""What a trial is fed: made-up batches, or images from files."""
