"""What lungs measure: volume, density, and where."""
