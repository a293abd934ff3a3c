"""The package data.store."""
