"""The laboratory: the network, its training and its measurement. Nothing that reads radiographs imports it."""
