"""Arrays drawn as pictures: pairs, cases, overlays, training curves."""
