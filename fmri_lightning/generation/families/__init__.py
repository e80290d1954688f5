"""Decoder families: one file draws, its neighbour knows the weights without loading them."""
