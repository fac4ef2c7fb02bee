"""The systems that the paper compares with, and two of today."""
