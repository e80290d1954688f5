"""From the encoder's embedding space to the one a generator was trained on."""
