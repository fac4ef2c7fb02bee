"""The systems of the paper's Table 3, and two of today, as working models over shared blocks. PyTorch only."""
