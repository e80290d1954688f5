"""A simulated experiment in the file layouts of NSD and of MindEye2: rendered scenes, simulated voxels, writers."""
