"""Weights to ONNX files, checked against PyTorch, in float and int8."""
