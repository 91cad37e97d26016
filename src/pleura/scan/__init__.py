"""CT scans and label maps: voxels, geometry, origin and intensity units."""
