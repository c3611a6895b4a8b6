"""Child processes: started, watched and ended, and what became of them."""
