"""What an artefact says about itself: its manifest, its bytes, and the tree of what it was made from."""
