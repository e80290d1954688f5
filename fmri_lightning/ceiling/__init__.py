"""``ceiling``: a simulated brain of which everything is known, and how near encoders come to the best possible."""
