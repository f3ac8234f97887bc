#!/bin/sh
# Makes .venv-tftrt, in which tools/check/tf_trt_coverage.py runs: TensorFlow 2.14 with TF-TRT, TensorRT 8.5 and the CUDA libraries that it
# loads, on Python 3.10. No GPU is needed, nor CUDA. Some 2 GB to download, 4.5 GB on the disk.
#
#     sh tools/environments/tf_trt.sh [FOLDER]
#
# Exit code 3 where there is no Python 3.10. Interrupted, it goes on where it was when called again; FOLDER/ready is there once all is.
# To use it by hand:   . FOLDER/env.sh; FOLDER/bin/python
set -eu
here=$(cd "$(dirname "$0")/../.." && pwd)
folder=${1:-$here/.venv-tftrt}
if [ "$folder/ready" -nt "$0" ]; then
  echo "$folder is ready"
  exit 0
fi

python=
for candidate in "${PYTHON:-}" python3.10 "$HOME"/.pyenv/versions/3.10.*/bin/python; do
  if [ -n "$candidate" ] && "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 10))' >/dev/null 2>&1; then
    python=$candidate
    break
  fi
done
if [ -z "$python" ]; then
  echo "Python 3.10 is not on the path, nor under ~/.pyenv/versions. Install one (pyenv install 3.10) or name it: PYTHON=/path/to/python3.10 sh $0" >&2
  exit 3
fi

echo "Setting up $folder (some minutes) ..."
rm -f "$folder/ready"
[ -x "$folder/bin/pip" ] || "$python" -m venv "$folder"
folder=$(cd "$folder" && pwd)
install() { "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile "$@"; }
install tensorflow==2.14.1 numpy==1.26.4
install --no-deps nvidia-cublas-cu11==11.11.3.6 nvidia-cudnn-cu11==8.7.0.84 # TensorRT's libraries load them; nothing runs on them here
install --no-deps tensorrt==8.5.3.1
packages=$folder/lib/python3.10/site-packages
cat >"$folder/env.sh" <<END
export LD_LIBRARY_PATH=$packages/tensorrt:$packages/nvidia/cublas/lib:$packages/nvidia/cudnn/lib\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}
END
. "$folder/env.sh"
TF_CPP_MIN_LOG_LEVEL=3 "$folder/bin/python" -c "
import sys, tensorrt, tensorflow as tf
from tensorflow.compiler.tf2tensorrt import _pywrap_py_utils as tf_trt
if not tf_trt.is_tensorrt_enabled() or tf_trt.get_loaded_tensorrt_version() != (8, 5, 3):
    sys.exit('TensorFlow did not load TensorRT 8.5.3 but {}'.format(tf_trt.get_loaded_tensorrt_version()))
print('TensorFlow', tf.__version__, 'with TensorRT', tensorrt.__version__, 'in $folder')"
touch "$folder/ready"
