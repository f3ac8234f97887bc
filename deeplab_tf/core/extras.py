"""The extras of setup.cfg, with the packages to import from each, and the Python that the lab needs."""

LAB_PYTHON = ((3, 11), (3, 12))

EXTRAS = {
    "train": ("tensorflow", "keras", "tensorflow_datasets", "yaml", "pydantic", "matplotlib"),
    "convert": ("onnx", "onnxruntime"),
    "page": ("tornado",),
    "coco": ("pycocotools",),
}
