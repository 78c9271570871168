#!/usr/bin/env bash
# The scripts that `heed completion` prints: bash offers every command, every option that --help lists, the values of choices, and files
# where an option takes one; zsh and fish accept theirs, if they are installed. Usage: tests/test_completion.sh BUILD-DIR
set -euo pipefail
heed=$(cd "$1" && pwd)/heed
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"

fail() {
  echo "$*" >&2
  exit 1
}

# shellcheck disable=SC1090
source <("$heed" completion bash)
complete -p heed >/dev/null || fail "the script completes nothing"

# Sets COMPREPLY as bash does for this command line, whose last word is to be completed.
offer() { # WORD ...
  COMP_WORDS=(heed "$@")
  COMP_CWORD=$#
  COMPREPLY=()
  _heed
}
offers() { # WHAT WORD ...
  local what=$1
  shift
  offer "$@"
  grep -qxF -e "$what" <<<"$(printf '%s\n' "${COMPREPLY[@]}")" || fail "heed $*: does not offer $what but: ${COMPREPLY[*]}"
}

options=0
every_option() { # COMMAND ...
  local option
  for option in $("$heed" "$@" --help | grep -oE '(^|[ ,[])(-[A-Za-z],|--[a-z][a-z0-9-]*)' | grep -oE -e '-+[A-Za-z][a-z0-9-]*' | sort -u); do
    offers "$option" "$@" -
    options=$((options + 1))
  done
}

commands=$("$heed" --help | sed -nE '/^Commands:/,/^$/s/^  ([a-z]+) .*/\1/p')
operators=$("$heed" run --help | sed -nE '/^Operators:/,/^$/s/^  ([a-z_]+) .*/\1/p')
for command in $commands; do
  offers "$command" "${command:0:2}"
  case $command in run | plot | lm | help | completion) ;; *) every_option "$command" ;; esac
done
for operator in $operators; do
  offers "$operator" run ''
  every_option run "$operator"
done
for kind in runs bench; do
  offers "$kind" plot ''
  every_option plot "$kind"
done
for word in $("$heed" lm --help | sed -nE '/Words:/,/^$/s/^  ([a-z_]+) .*/\1/p'); do
  offers "$word" lm ''
  every_option lm "$word"
done
[ "$options" -gt 150 ] || fail "only $options options were found in the helps"

offers bf16 bench gemm --dtype ''
offers bf16 bench gemm --dtype = b
offers mha bench ''
offers softmax check --op s
offers bottom-right run attention --causal = ''
offers --tiny check --op relu --t
offers host sqrt 2 --device h
offers zsh completion ''
offers train help t
touch 'a file.safetensors' && mkdir folder
offers 'a file.safetensors' run softmax -i a
offers 'a file.safetensors' eval --model ''
offers folder train --data f
offers synthetic train --data s
offer bench gemm --m ''
[ ${#COMPREPLY[@]} -eq 0 ] || fail "heed bench --m: offers ${COMPREPLY[*]} for a number"

"$heed" completion zsh >_heed
"$heed" completion fish >heed.fish
for command in $commands; do
  grep -qE "'$command:" _heed || fail "zsh's script lacks $command"
  grep -qE -- "-a $command " heed.fish || fail "fish's script lacks $command"
done
shells=bash
if command -v zsh >/dev/null; then zsh -n _heed && shells="$shells zsh"; fi
if command -v fish >/dev/null; then fish -n heed.fish && shells="$shells fish"; fi

status=0
"$heed" completion tcsh 2>/dev/null || status=$?
[ "$status" -eq 2 ] || fail "heed completion tcsh exits with $status"
grep -q '^Usage: heed completion' <<<"$("$heed" completion --help)" || fail "heed completion --help shows no usage"
echo "$options options are offered; read by: $shells"
