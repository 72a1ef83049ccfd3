"""Passes over ONNX files, with onnx alone: reading and proving, float16, Q/DQ in two dialects."""
