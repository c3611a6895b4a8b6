"""A step on this processor: what it would hold and how long it would take."""
