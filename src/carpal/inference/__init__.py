"""Radiograph to assessment. Importing this needs neither PyTorch nor ONNX Runtime; opening an engine needs one."""
