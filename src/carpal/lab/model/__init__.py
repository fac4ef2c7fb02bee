"""ALA-Net, one file for each box of the paper's figure 2."""
