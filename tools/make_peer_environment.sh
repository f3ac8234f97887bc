#!/bin/sh
# Makes .venv-peers: the environment in which tools/benchmark_training.py runs segmentation_models_pytorch.
#
#     sh tools/make_peer_environment.sh [FOLDER]
#
# PyTorch's CPU build. Where pip would bring the CUDA build (several GB), name PyTorch's own index first:
#     PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu sh tools/make_peer_environment.sh
# torchvision goes in without its dependencies: its C library fits one build of torch only, and of torchvision nothing but Python is used here.
set -eu
folder="${1:-$(dirname "$0")/../.venv-peers}"
"${PYTHON:-python3.11}" -m venv "$folder"
"$folder/bin/pip" install --quiet torch==2.13.0
"$folder/bin/pip" install --quiet "numpy<3" pillow huggingface_hub safetensors pyyaml tqdm
"$folder/bin/pip" install --quiet --no-deps torchvision==0.28.0 timm==1.0.31 segmentation_models_pytorch==0.6.0
"$folder/bin/python" -c "import torch; print('torch', torch.__version__, 'in', '$folder')"
