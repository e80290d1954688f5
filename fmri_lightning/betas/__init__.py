"""Beta volumes to a memory-mapped store of z-scored voxels, and the preprocessing fitted on it."""
