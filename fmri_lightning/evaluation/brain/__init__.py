"""Scores that need the measured brain: how far repeats agree, and what pictures would evoke in voxels."""
