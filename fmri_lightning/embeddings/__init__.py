"""Image embeddings: the encoders of pictures, their declared spaces and the cache of vectors."""
