"""How far off each prediction is expected to be, learnt on val pictures, and the noise level that says so to unCLIP."""
