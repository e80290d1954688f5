"""One network for several subjects: an input layer for each, a trunk for all, and new subjects who borrow the trunk."""
