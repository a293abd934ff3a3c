"""The package data."""
