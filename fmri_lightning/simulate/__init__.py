"""A simulated experiment in NSD's own file layout: rendered scenes, simulated voxels, writer."""
