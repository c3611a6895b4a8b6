"""A script of the user, run on a device that is not there, and what is made of what it tells."""
