"""What a CT picture is: its pixels and its units."""
