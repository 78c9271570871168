#!/usr/bin/env bash
# Every call that can fail does: OpenCL, host memory and files, in the library (fault_program) and in the program itself, through
# fault_shim. No crash, no hang, a message with the reason, nothing lost. A seeded sample; all of it with HEED_TEST_LONG=1.
# Usage: tests/test_faults.sh BUILD-DIR
set -euo pipefail
build=$(cd "$1" && pwd)
source "$(dirname "$0")/support_images.sh"
heed=$build/heed shim=$build/tests/libfault_shim.so
long=${HEED_TEST_LONG:-0}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
export HEED_CACHE=$scratch/cache HEED_SELF_TEST=off OMP_NUM_THREADS=1
RANDOM=1
failures=0

fail() {
  echo "FAILED $*" >&2
  failures=$((failures + 1))
}

# ---------------------------------------------------------------- the library

if [ "${HEED_TEST_HOST_ONLY:-0}" != 1 ]; then
  status=0
  mkdir library
  # CLBlast says on stderr what it meets.
  (cd library && LD_PRELOAD=$shim "$build/tests/fault_program" 2>clblast.log) || status=$?
  [ "$status" -eq 0 ] || [ "$status" -eq 77 ] || fail "fault_program: exit status $status"
  [ "$status" -ne 77 ] || [ "${HEED_REQUIRE_DEVICE:-0}" != 1 ] || fail "no OpenCL device, but HEED_REQUIRE_DEVICE=1"
fi

# ---------------------------------------------------------------- the program

make_images digits 64
export HEED_DATA=$scratch/digits
train=(train --hidden 4 --batch 16 --epochs 2 --save model --log log.jsonl)

# A folder "work" with an old checkpoint, an old output, and an input of `heed run`.
header='{"x":{"dtype":"F32","shape":[2,8],"data_offsets":[0,64]}}       '
{ printf '\100\0\0\0\0\0\0\0%.64s' "$header" && head -c 64 /dev/zero; } >in
mkdir fresh
"$heed" train --hidden 4 --batch 16 --epochs 1 --save fresh/model --device host >/dev/null 2>&1
cp fresh/model fresh/out
cp in fresh/in
for ((i = 0; i < 40; i++)); do printf 'The %d quick foxes. ' "$i"; done >fresh/text
lm_train=(lm train --data text --save-every 2 --eval-every 2 --log log.jsonl --keep-best)
lm_new=(--layers 1 --heads 2 --width 8 --context 8 --batch 2 --save lm --tokenizer chars)
(cd fresh && "$heed" "${lm_train[@]:0:4}" "${lm_new[@]}" --steps 2 --keep-best --device host) >/dev/null 2>&1

# The file's size is what its header says.
is_whole() {
  local length end
  length=$(od -An -tu8 -N8 "$1" | tr -d ' ')
  end=$(tail -c +9 "$1" | head -c "$length" | grep -oE '"data_offsets":\[[0-9]+,[0-9]+' | grep -oE '[0-9]+$' | sort -n | tail -n 1)
  [ "$(stat -c %s "$1")" -eq $((8 + length + end)) ]
}

# One run with one failing call, and what is to be said of it. Sets function (empty: no call failed), errors and calls.
tried=0 refused=0
faulty() { # KIND AT ERROR COMMAND ...
  local kind=$1 at=$2 error=$3 status=0 what file
  shift 3
  rm -rf work && cp -r fresh work
  (cd work && timeout -s ABRT 60 env FAULT_KIND="$kind" FAULT_AT="$at" FAULT_ERROR="$error" FAULT_REPORT=../report \
    LD_PRELOAD="$shim" "$heed" "$@" >../stdout 2>../stderr) || status=$?
  what="heed $1: $kind call $at, error $error"
  if [ "$status" -gt 2 ]; then
    fail "$what: exit status $status: $(tail -n 1 stderr)"
    function=unknown errors=1
    return 0
  fi
  calls=$(sed -E 's/^calls=([0-9]+) .*/\1/' report)
  function=$(sed -E 's/.* function=([^ ]*) .*/\1/' report)
  errors=$(sed -E 's/.* errors=([0-9]+) .*/\1/' report)
  [ -n "$function" ] || return 0
  what="heed $1: $kind call $at, $function with $(sed -E 's/.* error=([^ ]*) .*/\1/' report)"
  tried=$((tried + 1))
  [ "$status" -eq 0 ] || refused=$((refused + 1))
  grep -q 'leaks=$' report || fail "$what: $(cat report)"
  if [ "$status" -ne 0 ]; then
    case $kind in
      cl) grep -qE 'CL_|memory' stderr ;;
      memory) grep -qiE 'memory|no buffer' stderr ;;
      file) grep -qE 'No space left|Input/output error|Permission denied|Too many open files|Read-only file system|Interrupted' stderr ;;
    esac || fail "$what: exit status $status, but the message does not name the reason: $(tail -n 1 stderr)"
  fi
  # Files are whole, the old or the new, and nothing temporary is left.
  for file in model out lm/{,best/}model.safetensors lm/heed_state.safetensors; do
    if [ ! -e "work/$file" ]; then
      [ ! -e "fresh/$file" ] || [[ "$*" = *--force* ]] || fail "$what: $file is gone"
    else
      cmp -s "work/$file" "fresh/$file" || is_whole "work/$file" || fail "$what: $file is torn"
    fi
  done
  [ ! -e work/plot.svg ] || cmp -s work/plot.svg in || [ "$(tail -n 1 work/plot.svg)" = '</svg>' ] || fail "$what: the plot is torn"
  [ -z "$(find work -name '*.tmp' -o -name '.heed-*')" ] || fail "$what: a temporary file is left"
}

# Every failing call of a command, or a sample of as many as are asked for.
all_faults() { # KIND SAMPLE COMMAND ...
  local kind=$1 sample=$2 at error start=$SECONDS
  shift 2
  tried=0 refused=0
  faulty "$kind" 0 0 "$@"
  local total=$calls
  if [ "$long" = 1 ]; then
    for ((at = 1; ; at++)); do
      faulty "$kind" "$at" 0 "$@"
      [ -n "$function" ] || break
      for ((error = 1; error < errors; error++)); do faulty "$kind" "$at" "$error" "$@"; done
    done
  else
    for ((at = 0; at < sample; at++)); do faulty "$kind" $((1 + RANDOM % total)) $((RANDOM % 12)) "$@"; done
  fi
  local name=$1
  [ "$1" != lm ] || name="$1 $2"
  printf 'heed %-11s %-6s %5d calls: %5d failing runs, %5d ended with an error, %d s\n' "$name" "$kind" "$total" "$tried" "$refused" $((SECONDS - start))
}

train=(train --hidden 4 --batch 16 --epochs 2 --save model --log log.jsonl)
all_faults file 24 "${train[@]}" --device host
all_faults memory 24 "${train[@]}" --device host
all_faults file 15 run softmax -i in -o out --device host
all_faults memory 10 run softmax -i in -o out --device host
all_faults memory 8 eval --model model --device host --json
all_faults file 16 "${lm_train[@]}" --resume lm --steps 4 --device host
all_faults file 8 "${lm_train[@]}" "${lm_new[@]}" --force --steps 4 --device host
all_faults memory 16 "${lm_train[@]}" --resume lm --steps 4 --device host
all_faults memory 8 "${lm_train[@]}" "${lm_new[@]}" --force --steps 4 --device host
all_faults file 4 lm generate --model lm --prompt The --tokens 4 --device host
all_faults memory 8 lm generate --model lm --prompt The --tokens 4 --device host --json
all_faults memory 8 lm eval --model lm --data text --device host --json
all_faults memory 6 devices --json
all_faults memory 6 check --quick --op fill --serial --device host
if [ "${HEED_TEST_HOST_ONLY:-0}" != 1 ] && [ "${HEED_DEVICE:-}" != host ]; then
  all_faults cl 8 devices
  all_faults cl 4 check --quick --op fill --serial
  all_faults cl 12 "${train[@]}"
  all_faults cl 6 "${lm_train[@]}" --resume lm --steps 4
  all_faults cl 4 lm generate --model lm --prompt The --tokens 4
  all_faults cl 8 run softmax -i in -o out
fi
if [ "$long" = 1 ] && command -v gnuplot >/dev/null; then
  cp in fresh/plot.svg
  all_faults file 0 bench softmax --rows 16 --cols 16 --runs 1 --plot plot.svg --device host
fi

# ---------------------------------------------------------------- full disks that the kernel plays

refuses() { # MESSAGE COMMAND ...
  local message=$1 status=0
  shift
  "$@" >stdout 2>stderr || status=$?
  [ "$status" -eq 1 ] || fail "$*: exit status $status instead of 1: $(tail -n 1 stderr)"
  grep -qF "$message" stderr || fail "$*: no '$message' in: $(tail -n 1 stderr)"
}
export HEED_DEVICE=host
refuses 'No space left' "$heed" "${train[@]:0:7}" --log /dev/full
refuses 'No space left' "$heed" run softmax -i in -o /dev/full
refuses 'No space left' bash -c "exec '$heed' eval --model fresh/model >/dev/full"
cp fresh/model limited
refuses 'File too large' bash -c "ulimit -f 8; exec '$heed' train --hidden 64 --batch 16 --epochs 1 --save limited"
cmp -s limited fresh/model || fail "past a file size limit: the old checkpoint is gone"
[ -z "$(find . -maxdepth 1 -name '*.tmp')" ] || fail "past a file size limit: a temporary file is left"

# A file system of 64 KB that fills up, where the kernel lets one be mounted: an old file stays what it was.
fill_up() {
  mkdir -p full
  mount -t tmpfs -o size=64k tmpfs full && cp fresh/model full/model && cp in full/in || return 77
  local before
  before=$(cksum <full/model)
  head -c 32768 /dev/zero >full/ballast
  export HEED_CACHE=$PWD/full/cache XDG_CONFIG_HOME=$PWD/full/config
  refuses 'No space left' "$heed" train --hidden 64 --batch 16 --epochs 1 --save full/model
  refuses 'No space left' "$heed" train --hidden 64 --batch 16 --epochs 1 --save full/new
  refuses 'the disk has' "$heed" lm train --data fresh/text --layers 1 --width 16 --context 8 --batch 1 --steps 1 --save full/lm
  [ ! -e full/lm ] || fail "on a full file system: a folder for a model that has no room there"
  head -c 65536 /dev/zero >full/more 2>/dev/null || true
  refuses 'No space left' "$heed" run softmax -i full/in -o full/out
  refuses 'No space left' "$heed" train --hidden 4 --batch 16 --epochs 1 --log full/log.jsonl
  refuses 'No space left' "$heed" check --quick --op fill --junit full/report.xml
  [ "$(cksum <full/model)" = "$before" ] || fail "on a full file system: the old checkpoint is not what it was"
  if [ -e full/new ] || [ -e full/out ] || [ -e full/report.xml ]; then fail "on a full file system: a torn file is left"; fi
  [ -z "$(find full -name '*.tmp')" ] || fail "on a full file system: a temporary file is left"
  # A cache never stands in the way.
  if [ "${HEED_TEST_HOST_ONLY:-0}" != 1 ] && "$heed" devices 2>/dev/null | grep -q Portable; then
    HEED_DEVICE=pocl "$heed" run softmax -i in -o out 2>stderr || fail "a cache on a full file system: $(tail -n 1 stderr)"
  fi
  [ "$failures" -eq 0 ]
}
export -f fill_up refuses fail
export heed failures
# In a user's own namespace, or, in a chroot, where there are none, as root.
space=(unshare --user --map-root-user --mount)
"${space[@]}" true 2>/dev/null || space=(unshare --mount)
status=0
if ! "${space[@]}" true 2>/dev/null; then
  status=2
else
  "${space[@]}" bash -c 'set -u; fill_up' || status=$?
fi
case $status in
  0) echo "a full file system: nothing lost" ;;
  1) fail "on a full file system" ;;
  *) echo "a full file system: not tried, since none can be mounted here" ;;
esac

[ "$failures" -eq 0 ] || exit 1
