"""The package data.intake."""
