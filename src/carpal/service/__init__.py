"""What runs for days: the queue of jobs, the DICOM node. No training, no PyTorch."""
