#!/usr/bin/env bash
# For the CI of an OpenCL driver, or of a machine with one: does each device
# compute attention, its gradients and everything around it as the CPU does?
# Writes a JUnit report for each device, which GitLab, Jenkins and others show as
# tests, and exits with 1 if one device is wrong, or if there is none.
#
# Usage: check_my_driver.sh [FOLDER]
#       the reports go to FOLDER, by default here
#
# Environment:
#   HEED         the program (default: heed)
#   HEED_CHECK   options of heed check (default: --quick, a minute; --full takes
#                minutes and checks much more)
#   HEED_DEVICE  check this device alone (default: all)
set -euo pipefail
case "${1:-}" in -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" && exit ;; esac
heed=${HEED:-heed}
folder=${1:-.}
read -ra options <<<"${HEED_CHECK:---quick}"
mkdir -p "$folder"

# Ids stay the same from boot to boot, while the numbers of devices may change. The first column of `heed devices` would do, too. The host
# is what the others are compared with.
if [ -n "${HEED_DEVICE:-}" ]; then
  devices=$HEED_DEVICE
else
  devices=$("$heed" devices --json | grep -oE '"id": *"[^"]*"' | cut -d'"' -f4 | grep -vx host || true)
fi
[ -n "$devices" ] || {
  echo "check_my_driver.sh: there is no OpenCL device; $heed devices says why" >&2
  exit 1
}

wrong=0
while IFS= read -r device; do
  report=$folder/heed-${device//[^A-Za-z0-9]/-}.xml
  echo "== $device"
  # 0: all within tolerance; 1: something is not, and the last lines say what and how to repeat it. An empty cache, so that the
  # driver compiles every kernel anew, and what it computed wrong yesterday is found today.
  HEED_CACHE=off "$heed" check "${options[@]}" --device "$device" --junit "$report" || wrong=1
  echo "report: $report"
done <<<"$devices"
exit $wrong
