"""The network of the paper's figure 2. Torch only: it knows nothing of files, data sets or optimisers."""
