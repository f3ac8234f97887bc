"""From a trained Keras network to a bundle.

`network` reads the network into nodes; `graph` writes them as TensorFlow operations, `onnx_model` as ONNX;
`calibration` measures ranges, `quantize` plans, `qdq` writes INT8; `bundle_writer` writes all files, and `convert` does
it for a run.
"""
