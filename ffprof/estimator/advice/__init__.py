"""Advice: changes to a training step that are tried on the step itself, and what each saves."""
