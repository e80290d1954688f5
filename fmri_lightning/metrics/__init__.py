"""Pure functions that score pictures and embeddings: numpy in, one number per stimulus out."""
