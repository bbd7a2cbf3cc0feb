"""Answers of the pipeline as text for people, or JSON for programs."""
