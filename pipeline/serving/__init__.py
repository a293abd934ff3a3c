"""The package serving."""
