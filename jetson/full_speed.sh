#!/bin/sh
# Sets the power mode without a limit and holds the clocks at their highest, so that speeds can be compared. Lasts until the next start.
#
#     sudo sh jetson/full_speed.sh           the fan should be connected
set -eu
[ "$(id -u)" = 0 ] || { echo "Only root may set clocks: sudo sh $0" >&2; exit 1; }
command -v nvpmodel >/dev/null || { echo "There is no nvpmodel: this is no Jetson." >&2; exit 1; }
mode=$(sed -n 's/.*POWER_MODEL *ID=\([0-9]*\) *NAME=\(MAXN[A-Z_]*\).*/\2 \1/p' /etc/nvpmodel.conf | sort | tail -n 1 | cut -d' ' -f2) # MAXN_SUPER after MAXN
if [ -n "$mode" ]; then
  echo "Power mode $mode"
  nvpmodel -m "$mode" || echo "It takes effect after a restart: reboot, then call this again."
fi
jetson_clocks
nvpmodel -q
echo "While it runs, 'sudo tegrastats' shows clocks and temperatures; 'deeplab-tf doctor' says whether clocks are held and whether it is slowed down."
