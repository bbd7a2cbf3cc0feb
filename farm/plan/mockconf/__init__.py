"""mock's configuration files, read without being executed."""
