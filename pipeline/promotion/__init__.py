"""The package promotion."""
