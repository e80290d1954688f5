"""Reconstruct seen images from fMRI, from the trial index to the report page."""

__version__ = "0.1.0"
