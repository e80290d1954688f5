"""Published numbers of fMRI-to-image systems on NSD, one record a cell, each with where it was read."""
