"""From a trained Keras network to the files of a bundle.

network.py reads the network into a short list of nodes with batch normalisation folded away; graph.py writes those as
TensorFlow operations, onnx_model.py as ONNX; calibrate.py measures ranges, quantize.py says where integers go;
convert.py does it all.
"""
