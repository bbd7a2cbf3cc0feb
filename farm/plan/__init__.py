"""What must be built, with what, in which order, and why."""
