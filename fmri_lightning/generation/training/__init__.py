"""Training of small generators from nothing: autoencoder, then a U-Net on its latents."""
