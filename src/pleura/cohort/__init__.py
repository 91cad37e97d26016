"""Many scans: found, segmented past bad ones, resumed, summed up."""
