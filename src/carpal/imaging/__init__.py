"""From a file, an address or bytes to grey pixels and what its header states. No PyTorch."""
