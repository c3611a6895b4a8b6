"""Child processes: started, watched and ended, and what happened to them."""
