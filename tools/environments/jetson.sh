#!/bin/sh
# Makes .venv-py36: Python 3.6 with TensorFlow 2.6, the nearest that PyPI has to a Jetson Nano's software (JetPack 4.6: Python 3.6 and
# NVIDIA's TensorFlow 2.7). For checks on an x86-64 machine; a Jetson itself takes NVIDIA's own TensorFlow and OpenCV.
#
#     sh tools/environments/jetson.sh [FOLDER]
#
# Exit code 3 where there is no Python 3.6. Interrupted, it goes on where it was when called again; FOLDER/ready is there once all is.
set -eu
here=$(cd "$(dirname "$0")/../.." && pwd)
folder=${1:-$here/.venv-py36}
if [ "$folder/ready" -nt "$0" ]; then
  echo "$folder is ready"
  exit 0
fi

python=
for candidate in "${PYTHON:-}" python3.6 "$HOME"/.pyenv/versions/3.6.*/bin/python; do
  if [ -n "$candidate" ] && "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 6))' >/dev/null 2>&1; then
    python=$candidate
    break
  fi
done
if [ -z "$python" ]; then
  echo "Python 3.6 is not on the path, nor under ~/.pyenv/versions. Install one (pyenv install 3.6.15) or name it: PYTHON=/path/to/python3.6 sh $0" >&2
  exit 3
fi

echo "Setting up $folder ..."
rm -f "$folder/ready"
[ -x "$folder/bin/pip" ] || "$python" -m venv "$folder"
install() { "$folder/bin/python" -m pip install --quiet --disable-pip-version-check "$@"; }
install pip==21.3.1 # the last for 3.6; the one that comes with it knows no manylinux2014
install "setuptools<60" "wheel<0.38"
install tensorflow==2.6.2 numpy==1.19.5 keras==2.6.0 tensorboard==2.6.0 tensorflow-estimator==2.6.0 "protobuf<3.20" \
  opencv-python-headless==4.5.5.64 click==8.0.4 tornado==6.1 PyYAML==6.0.1 pytest==7.0.1 onnxruntime==1.10.0
LANG=C.UTF-8 TF_CPP_MIN_LOG_LEVEL=2 "$folder/bin/python" -c \
  "import cv2, click, numpy, onnxruntime, tornado, tensorflow as tf; print('TensorFlow', tf.__version__, 'in $folder')"
touch "$folder/ready"
