"""Many scans, here or on a cluster: found, segmented past bad ones, resumed, summed up."""
