"""The package processes."""
