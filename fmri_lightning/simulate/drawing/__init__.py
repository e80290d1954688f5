"""How the simulated stimuli look: a brush, backgrounds (places) and things that stand in them."""
