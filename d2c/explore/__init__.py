"""Looking at a data set: the map verb, and the torch-free functions that the charts and galleries draw from."""
