#!/bin/sh
# Makes .venv-trackeval: TrackEval, which tests hold IDF1 and MOTA against. It needs NumPy 2, so it gets an environment of its own. Some 500 MB.
#
#     sh tools/environments/trackeval.sh [FOLDER]
#
# Interrupted, it goes on where it was when called again; FOLDER/ready is there once all is.
set -eu
here=$(cd "$(dirname "$0")/../.." && pwd)
folder=${1:-$here/.venv-trackeval}
if [ "$folder/ready" -nt "$0" ]; then
  echo "$folder is ready"
  exit 0
fi

echo "Setting up $folder ..."
rm -f "$folder/ready"
[ -x "$folder/bin/pip" ] || "${PYTHON:-python3.11}" -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check trackeval==1.3.0
"$folder/bin/python" -c "import trackeval; print('TrackEval is in $folder')"
touch "$folder/ready"
