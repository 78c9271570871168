# Sourced by tests of ranks, in the folder `scratch` that goes at their end: `ranks COUNT COMMAND ...`, a text to train on, and what is common
# to small runs. Leaves with 77 without mpirun or a build with MPI. Needs: build, heed, long.
command -v mpirun >/dev/null && [ -x "$build/tests/mpi_program" ] || {
  [ "${CI:-}" != true ] || { echo "mpirun, or a build with MPI, is missing" >&2 && exit 1; }
  echo "skipped: no mpirun, or a build without MPI"
  exit 77
}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
mkdir cache
export HEED_CACHE=$scratch/cache HEED_SELF_TEST=off HEED_TUNE=off
devices=(host)
[ "${HEED_TEST_HOST_ONLY:-0}" = 1 ] || devices+=("${HEED_DEVICE:-auto}")
unset HEED_DEVICE
failures=0

fail() {
  echo "FAILED $*" >&2
  failures=$((failures + 1))
}

# Open MPI refuses root and more ranks than cores unless it is told otherwise; MPICH allows both and knows no such options.
options=()
! mpirun --version 2>/dev/null | grep -q 'Open MPI' || options=(--oversubscribe --allow-run-as-root)
ranks() { # COUNT COMMAND ...
  local count=$1
  shift
  timeout 300 mpirun "${options[@]}" -np "$count" "$@"
}
counts=(2 4)
[ "$long" != 1 ] || counts+=(8)

for i in {1..200}; do echo "Line $i of a text, on which $((i * 37 % 101)) ranks train a model together."; done >text
small=(lm train --data text --layers 1 --width 32 --heads 2 --context 16 --batch 2 --accumulate 8 --clip 1 --eval-batches 3)

same_files() { # WHAT FOLDER FOLDER
  diff -rq "$2" "$3" >difference 2>&1 || fail "$1: $(cat difference)"
}

# ---------------------------------------------------------------- a rank of a run that is under way
rank_of() { # NAME RANK: prints the process
  local process
  for process in $(pgrep -f "^$heed lm train .*--(save|resume) $1( |\$)"); do
    ! tr '\0' '\n' <"/proc/$process/environ" 2>/dev/null | grep -qE "^(OMPI_COMM_WORLD_RANK|PMI_RANK)=$2\$" || echo "$process"
  done | head -1
}
await() { # FILE
  for _ in {1..600}; do [ ! -e "$1" ] || return 0; sleep 0.1; done
  fail "$1 does not appear"
}
steps_of() { # FOLDER: prints how many steps it has taken; 0 before its first checkpoint
  grep -aoE '"step": ?"[0-9]+"' "$1/heed_state.safetensors" 2>/dev/null | tr -dc 0-9 | grep . || echo 0
}
