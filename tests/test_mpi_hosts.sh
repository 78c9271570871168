#!/usr/bin/env bash
# Two machines: network namespaces of this one, which nothing but a slow link joins. Training over them gives the bits of one process, and the
# other machine's failure comes with its name. Skipped without root, iproute2, network namespaces, Open MPI or a build with MPI.
# Usage: tests/test_mpi_hosts.sh BUILD-DIR
set -euo pipefail
build=$(cd "$1" && pwd)
heed=$build/heed
skip() {
  echo "skipped: $*"
  exit 77
}
[ -x "$build/tests/mpi_program" ] || skip "a build without MPI"
mpirun --version 2>/dev/null | grep -q 'Open MPI' || skip "no Open MPI"
[ "$(id -u)" == 0 ] && command -v ip >/dev/null && command -v tc >/dev/null || skip "no root, or no iproute2"
one=heed-one-$$ two=heed-two-$$
ip netns add "$one" 2>/dev/null || skip "no network namespaces"
ip netns exec "$one" true 2>/dev/null || { ip netns del "$one" && skip "no commands in network namespaces, as in a chroot"; }
scratch=$(mktemp -d)
# shellcheck disable=SC2317 # the trap calls it
clean() {
  ip netns del "$one" 2>/dev/null || true
  ip netns del "$two" 2>/dev/null || true
  rm -rf "$scratch"
}
trap clean EXIT
cd "$scratch"
failures=0
fail() {
  echo "FAILED $*" >&2
  failures=$((failures + 1))
}

ip netns add "$two"
ip link add name wire1 netns "$one" type veth peer name wire2 netns "$two"
plug() { # NAMESPACE WIRE ADDRESS
  ip -n "$1" address add "$3/24" dev "$2"
  ip -n "$1" link set "$2" up
  ip -n "$1" link set lo up
  tc -n "$1" qdisc add dev "$2" root tbf rate 200mbit burst 256kb latency 50ms 2>/dev/null || echo "the link is not slow: no tbf here"
}
plug "$one" wire1 10.99.99.1
plug "$two" wire2 10.99.99.2

# What ssh would be: a command on the other machine, which has a name of its own.
cat >agent <<END
#!/bin/sh
shift
exec ip netns exec $two unshare --uts sh -c 'hostname other-machine; exec sh -c "\$0"' "\$*"
END
chmod +x agent
export HEED_CACHE=off HEED_SELF_TEST=off HEED_TUNE=off HEED_DEVICE=host
hosts() { # COMMAND ...
  timeout 200 ip netns exec "$one" mpirun --allow-run-as-root --host 10.99.99.1:1,10.99.99.2:1 -np 2 --oversubscribe \
    --mca plm_rsh_agent "$scratch/agent" --mca btl tcp,self --mca btl_tcp_if_include 10.99.99.0/24 --mca oob_tcp_if_include 10.99.99.0/24 \
    -x HEED_CACHE -x HEED_SELF_TEST -x HEED_TUNE -x HEED_DEVICE "$@"
}

for i in {1..200}; do echo "Line $i of a text, on which $((i * 37 % 101)) ranks train a model together."; done >text
train=("$heed" lm train --data "$scratch/text" --layers 2 --width 64 --heads 2 --context 16 --batch 1 --accumulate 4 --clip 1 --steps 3 --log-every 1)
"${train[@]}" --save alone -q >/dev/null
hosts "${train[@]}" --save "$scratch/together" --log "$scratch/log" >out 2>err || fail "two machines: $(cat err)"
diff -rq alone together || fail "two machines give other bits"
grep -q "rank 1: host.* on other-machine" err || fail "rank 1 is not on the other machine: $(cat err)"
grep -q '"hidden"' log || fail "the log does not tell how much of the exchange was hidden"

status=0
hosts "${train[@]}" --timeout 2 --steps 100000 --save "$scratch/stopped" --save-every 1 --eval-every 0 >out 2>err &
run=$!
for _ in {1..300}; do [ ! -e stopped/heed_state.safetensors ] || break; sleep 0.1; done
for process in $(ip netns pids "$two"); do
  [ "$(readlink "/proc/$process/exe")" != "$heed" ] || kill -STOP "$process"
done
wait "$run" || status=$?
[ "$status" != 0 ] || fail "a machine hangs, and the exit status is 0"
[ "$(grep -c "rank 1 on other-machine has not answered for 2 s" err)" == 1 ] || fail "who hangs: $(cat err)"
for process in $(ip netns pids "$two"); do kill -KILL "$process"; done

[ "$failures" == 0 ] || exit 1
echo "two machines agree"
