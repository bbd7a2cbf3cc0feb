"""Signing, metadata, snapshots, the pointer that moves."""
