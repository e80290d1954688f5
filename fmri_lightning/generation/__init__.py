"""Generation: pictures from embeddings by a frozen diffusion decoder, on any number of devices."""
