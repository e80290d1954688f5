"""The pictures of the page: which stand beside each other, how small they are, and what the script reads."""
