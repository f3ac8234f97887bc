#!/bin/sh
# Makes the environments in which tools/benchmark/peers.py runs what we compare ourselves with; both want versions that ours cannot have.
#
#     sh tools/environments/peers.sh [torch|keras-hub] ...        (both where none is named)
#
# torch: .venv-peers with segmentation_models_pytorch and OpenVINO, 1.2 GB. PyTorch's CPU build. Where pip would bring the CUDA build
# (several GB), name PyTorch's own index first:
#     PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu sh tools/environments/peers.sh torch
# torchvision goes in without its dependencies: its C library fits one build of torch only, and of torchvision nothing but Python is used here.
# keras-hub: .venv-keras-hub with TensorFlow 2.21, 2.5 GB.
set -eu
root="$(dirname "$0")/../.."
[ "$#" -gt 0 ] || set -- torch keras-hub

for name; do
  case "$name" in
    torch)
      folder="$root/.venv-peers"
      "${PYTHON:-python3.11}" -m venv "$folder"
      "$folder/bin/pip" install --quiet torch==2.13.0
      "$folder/bin/pip" install --quiet "numpy<3" pillow huggingface_hub safetensors pyyaml tqdm openvino==2026.4.1
      "$folder/bin/pip" install --quiet --no-deps torchvision==0.28.0 timm==1.0.31 segmentation_models_pytorch==0.6.0
      "$folder/bin/python" -c "import openvino, torch; print('torch', torch.__version__, 'and openvino', openvino.__version__, 'in $folder')"
      ;;
    keras-hub)
      folder="$root/.venv-keras-hub"
      "${PYTHON:-python3.11}" -m venv "$folder"
      "$folder/bin/pip" install --quiet tensorflow==2.21.0 keras==3.15.1 keras-hub==0.32.0
      "$folder/bin/python" -c "import keras_hub; print('keras-hub', keras_hub.__version__, 'in $folder')" 2>/dev/null
      ;;
    *)
      echo "There is no peer '$name'; choose torch or keras-hub." >&2
      exit 2
      ;;
  esac
done
