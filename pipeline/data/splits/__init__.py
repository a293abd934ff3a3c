"""The package data.splits."""
