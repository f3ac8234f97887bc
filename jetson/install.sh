#!/bin/sh
# Set up deeplab-tf on a Jetson: what JetPack lacks, and a virtual environment that sees JetPack's OpenCV and TensorRT.
#
#     sh jetson/install.sh [FOLDER]          FOLDER of the environment; .venv-jetson in this clone if left out
#
# Asks for the sudo password once. If interrupted, run it again: it goes on where it stopped.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-$here/../.venv-jetson}

[ -r /etc/nv_tegra_release ] || { echo "This is not a Jetson (/etc/nv_tegra_release is missing). Elsewhere: pip install '.[page]' onnxruntime" >&2; exit 1; }
release=$(sed -n 's/^# R\([0-9]*\) (release), REVISION: \([0-9.]*\).*/\1.\2/p' /etc/nv_tegra_release)
case $release in
  32.7.*) jetpack=4; python=python3.6; more="libhdf5-serial-dev hdf5-tools libhdf5-dev zlib1g-dev pkg-config gcc g++ python3-dev" ;;
  32.*) echo "L4T $release has TensorRT 8.0 or older; upgrade to JetPack 4.6.1 or newer of the 4.6 series." >&2; exit 1 ;;
  35.*) jetpack=5; python=python3.8; more= ;;
  36.*) jetpack=6; python=python3.10; more= ;;
  *) echo "L4T $release is not supported; JetPack 4.6.1 to 6.2 are." >&2; exit 1 ;;
esac
echo "JetPack $jetpack (L4T $release): installing into $folder"

sudo apt-get update
# nvidia-jetpack brings CUDA, cuDNN, TensorRT with its Python package, and OpenCV with GStreamer
# shellcheck disable=SC2086  # several packages in one variable
sudo apt-get install -y nvidia-jetpack python3-pip python3-venv v4l-utils $more

[ -x "$folder/bin/python" ] || "$python" -m venv --system-site-packages "$folder"
export OPENBLAS_CORETYPE=ARMV8 # NumPy on a Nano
if [ "$jetpack" = 4 ]; then
  "$folder/bin/python" -m pip install --upgrade "pip==21.3.1" "setuptools<60" "wheel<0.38" # the last that Python 3.6 runs
  "$folder/bin/python" -m pip install numpy==1.19.4 Cython==0.29.36 pkgconfig==1.5.5
  H5PY_SETUP_REQUIRES=0 "$folder/bin/python" -m pip install --no-build-isolation h5py==3.1.0
fi
"$folder/bin/python" -m pip install -r "$here/requirements-jetpack$jetpack.txt"
"$folder/bin/python" -m pip install --no-deps "$here/.."
"$folder/bin/python" -c "import cv2; assert 'GStreamer:                   YES' in cv2.getBuildInformation()" 2>/dev/null ||
  echo "Warning: this OpenCV has no GStreamer, so csi:// will not work; pip uninstall opencv-python if one was installed with pip."
LANG=C.UTF-8 "$folder/bin/deeplab-tf" doctor --limit 120
echo "Done. In each shell:  export LANG=C.UTF-8 OPENBLAS_CORETYPE=ARMV8; . $folder/bin/activate"
