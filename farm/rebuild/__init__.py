"""One job becomes packages."""
