"""``ffprof paper``: what is known of a paper's statements, what more would take, and running it."""
