"""Volume, density and extent of the lungs of a scan."""
