#!/bin/sh
# Makes .venv-beam: this project with Apache Beam, for `deeplab-tf prepare --beam-runner`. Beam moves grpcio, pyarrow and python-dateutil, so
# it gets an environment of its own. Some 2 GB.
#
#     sh tools/environments/beam.sh [FOLDER]
#
# Interrupted, it goes on where it was when called again; FOLDER/ready is there once all is.
# To use it:   FOLDER/bin/deeplab-tf prepare CONFIG --beam-runner direct
set -eu
here=$(cd "$(dirname "$0")/../.." && pwd)
folder=${1:-$here/.venv-beam}
if [ "$folder/ready" -nt "$0" ]; then
  echo "$folder is ready"
  exit 0
fi

echo "Setting up $folder (some minutes) ..."
rm -f "$folder/ready"
[ -x "$folder/bin/pip" ] || "${PYTHON:-python3.11}" -m venv "$folder"
install() { "$folder/bin/python" -m pip install --quiet --disable-pip-version-check "$@"; }
install tensorflow==2.17.1 keras==3.15.1 tensorflow-datasets==4.9.9 tensorflow-metadata==1.16.1 importlib_resources PyYAML \
  "pydantic>=2.11,<3" matplotlib "numpy<2" opencv-python-headless click apache-beam==2.64.0
install --no-deps -e "$here"
TF_CPP_MIN_LOG_LEVEL=3 "$folder/bin/python" -c \
  "import apache_beam, tensorflow as tf; print('Apache Beam', apache_beam.__version__, 'and TensorFlow', tf.__version__, 'in $folder')"
touch "$folder/ready"
