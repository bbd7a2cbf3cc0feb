"""The embedded base distribution."""
