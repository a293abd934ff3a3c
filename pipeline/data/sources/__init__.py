"""The package data.sources."""
