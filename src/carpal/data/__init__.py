"""Training data: folders and tables of radiographs in, one memory-mapped store out."""
