"""How unreliable each prediction of an encoder is, from the encoder and the brain alone: no embedding is looked at."""
