"""The package data.pixels."""
