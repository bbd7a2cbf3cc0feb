"""Does the layer fit its base: what is asked, of what, and what the answers mean."""
