"""Ratings by people: a page for blind identification, and the scores of what they chose."""
