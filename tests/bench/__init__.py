"""`make bench`: what the engine does under load, on a control plane whose pods are ended by a fake node."""
