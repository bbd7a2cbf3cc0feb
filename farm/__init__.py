"""A reproducible SRPM rebuild farm and repository publisher."""
