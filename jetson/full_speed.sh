#!/bin/sh
# Set the power mode without a limit and lock the clocks at their maximum, so that speeds can be compared. Lasts until the next boot.
#
#     sudo sh jetson/full_speed.sh           connect a fan first
set -eu
[ "$(id -u)" = 0 ] || { echo "Only root may set clocks: sudo sh $0" >&2; exit 1; }
command -v nvpmodel >/dev/null || { echo "There is no nvpmodel: this is not a Jetson." >&2; exit 1; }
mode=$(sed -n 's/.*POWER_MODEL *ID=\([0-9]*\) *NAME=\(MAXN[A-Z_]*\).*/\2 \1/p' /etc/nvpmodel.conf | sort | tail -n 1 | cut -d' ' -f2) # MAXN_SUPER after MAXN
if [ -n "$mode" ]; then
  echo "Power mode $mode"
  nvpmodel -m "$mode" || echo "It takes effect after a restart: reboot, then call this again."
fi
jetson_clocks
nvpmodel -q
echo "While it runs, 'sudo tegrastats' shows clocks and temperatures; 'deeplab-tf doctor' shows whether clocks are locked and whether it is throttled."
