"""`farm verify`: what was built is built again and compared; nothing of it counts as a build."""
