"""One page with pictures and numbers, and grids to look at, from what predict and evaluate wrote."""
