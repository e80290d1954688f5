"""Which voxels did it: patterns of the decoder, encoding accuracy beside its ceiling, regions taken away or alone."""
