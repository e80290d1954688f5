"""From preprocessed betas to image embeddings: ridge regression and a small network."""
