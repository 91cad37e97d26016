"""Pages to look at, in one file each."""
