"""From a folder of photos to a registered, tested image classifier."""

__version__ = "0.1.0"
