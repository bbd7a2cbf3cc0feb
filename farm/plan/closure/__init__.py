"""Verdicts for a whole distribution at once: what has a witness, and what libsolv decides."""
