"""Images that are read from files: named, checked, decoded, augmented, and loaded by workers."""
