"""HTML reports, one file each."""
