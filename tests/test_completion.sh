#!/usr/bin/env bash
# What the scripts of `heed completion` offer in bash, zsh and fish: every command, every option that --help lists, the values of choices,
# and files and folders where an option or an operand takes one. zsh and fish are asked themselves if they are installed; bash's function
# is called as bash calls it. Usage: tests/test_completion.sh BUILD-DIR
set -euo pipefail
heed=$(cd "$1" && pwd)/heed
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
touch expected unexpected 'a file.safetensors'
mkdir folder
failures=0

fail() {
  echo "FAILED $*" >&2
  failures=$((failures + 1))
}
expect() { printf '%s\t%s\n' "$1" "$2" >>expected; }     # WHAT LINE: the line's last word is at the cursor
refuse() { printf '%s\t%s\n' "$1" "$2" >>unexpected; }

# ---------------------------------------------------------------- what is to be offered

options=0
every_option() { # COMMAND ...
  local option
  for option in $("$heed" "$@" --help | grep -oE '(^|[ ,[])(-[A-Za-z],|--[a-z][a-z0-9-]*)' | grep -oE -e '-+[A-Za-z][a-z0-9-]*' | sort -u); do
    case $option in
    --*) expect "$option" "heed $* --" ;;
    *) expect "$option" "heed $* -" ;;
    esac
    options=$((options + 1))
  done
}

commands=$("$heed" --help | sed -nE '/^Commands:/,/^$/s/^  ([a-z]+) .*/\1/p')
operators=$("$heed" run --help | sed -nE '/^Operators:/,/^$/s/^  ([a-z_]+) .*/\1/p')
for command in $commands; do
  expect "$command" 'heed '
  expect "$command" "heed ${command:0:2}"
  [ "$command" = help ] || expect "$command" 'heed help '
  case $command in run | plot | lm | help | completion) ;; *) every_option "$command" ;; esac
done
for operator in $operators; do
  expect "$operator" 'heed run '
  every_option run "$operator"
done
for kind in runs bench; do
  expect "$kind" 'heed plot '
  every_option plot "$kind"
done
for word in $("$heed" lm --help | sed -nE '/^Subcommands:/,/^$/s/^  ([a-z_]+) .*/\1/p'); do
  expect "$word" 'heed lm '
  every_option lm "$word"
done
[ "$options" -gt 150 ] || fail "only $options options were found in the helps"

expect --help 'heed --'
expect --version 'heed --'
expect --help 'heed lm --'
refuse --json 'heed --'
expect train 'heed lm tr'
expect bf16 'heed bench gemm --dtype '
expect bf16 'heed bench gemm --dtype=b'
expect mha 'heed bench '
expect softmax 'heed check --op s'
expect bottom-right 'heed run attention --causal='
expect --tiny 'heed check --op relu --t'
expect host 'heed sqrt 2 --device h'
expect --device 'heed sqrt 2 --dev'
expect zsh 'heed completion '
expect random 'heed lm train --order '
expect --order 'heed lm train --data run --or'
expect 'a file.safetensors' 'heed run softmax -i a'
expect 'a file.safetensors' 'heed eval --model '
expect 'a file.safetensors' 'heed lm train --data '
expect 'a file.safetensors' 'heed lm tokenize '
expect 'a file.safetensors' 'heed plot runs '
expect --output 'heed plot runs one.jsonl two.jsonl --o'
expect folder 'heed train --data f'
expect synthetic 'heed train --data s'
expect synthetic 'heed eval --data '
expect chars 'heed lm train --tokenizer '
expect bytes 'heed lm train --tokenizer=b'
expect folder 'heed lm tokenize --tokenizer f'
expect folder 'heed lm eval --model '
refuse synthetic 'heed lm train --data '
refuse synthetic 'heed lm eval --model '
refuse --layers 'heed plot bench --'
refuse --plot 'heed lm info --'
refuse folder 'heed bench gemm --m '
refuse folder 'heed sqrt '
refuse folder 'heed run '

# ---------------------------------------------------------------- what is offered

# Each shell gets the lines and writes "offer LINE" before, and "end" after, the offers, one a line. A value after = may come with the
# option before it, a folder with a slash, and a blank with a backslash.
cut -f 2 expected unexpected | sort -u >lines

in_bash() {
  # shellcheck disable=SC1090
  source <("$heed" completion bash)
  complete -p heed >/dev/null || fail "bash's script completes nothing"
  local line
  while IFS= read -r line; do
    read -ra COMP_WORDS <<<"${line//=/ = }" # bash takes = for a word of its own
    [ "${line% }" = "$line" ] || COMP_WORDS+=('')
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    COMPREPLY=()
    _heed
    printf 'offer %s\n' "$line"
    printf '%s\n' "${COMPREPLY[@]}" end
  done <lines
}

# A zsh on a terminal of its own, in which Ctrl-X completes what is typed, and compadd also writes down what it is given.
in_zsh() {
  mkdir zsh
  "$heed" completion zsh >zsh/_heed
  cat >zsh/rc <<'ZSH'
PROMPT= fpath=($PWD/zsh $fpath)
setopt extendedglob no_auto_list # a long list would ask whether to show all of it
autoload -Uz compinit && compinit -u -d $PWD/zsh/dump
compadd() {
  local word
  local -a offers
  for word in "$@"; do # up to the matches; with -O, -A or -D it only looks
    [[ $word == (-|--) ]] && break
    [[ $word == -[a-zA-Z]#[OAD]* ]] && { builtin compadd "$@"; return }
  done
  builtin compadd -A offers "$@"
  (( $#offers )) && print -rl -- $offers >>zsh/offers
  builtin compadd "$@"
}
offer() {
  : >zsh/offers
  zle complete-word
  BUFFER=
  : >zsh/done
}
zle -N offer
bindkey '^X' offer
: >zsh/done
ZSH
  cat >zsh/ask <<'ZSH'
zmodload zsh/zpty || exit
settle() { # until the shell has done what it was told
  local seen
  repeat 600; do
    zpty -r -t shell seen
    [[ -e zsh/done ]] && break
    sleep 0.05
  done
  rm zsh/done
}
zpty -b shell env TERM=dumb zsh -f -i
zpty -w shell 'source zsh/rc'
settle
while IFS= read -r line; do
  zpty -w -n shell "$line"$'\x18'
  settle
  print -r -- "offer $line"
  [[ -e zsh/offers ]] && sed 's/\\//g' zsh/offers
  print end
done <lines
zpty -d shell
ZSH
  zsh -f zsh/ask
}

in_fish() {
  "$heed" completion fish >heed.fish
  # shellcheck disable=SC2016 # fish's own
  HOME=$scratch fish --no-config -c 'source heed.fish
    while read -l line
      echo "offer $line"
      complete -C $line | string replace -r "\t.*" ""
      echo end
    end' <lines
}

shells='' skipped=''
for shell in bash zsh fish; do
  if ! command -v "$shell" >/dev/null; then
    skipped="$skipped $shell"
    continue
  fi
  shells="$shells $shell"
  "in_$shell" >"offers.$shell" 2>"errors.$shell" || fail "$shell ends with $?: $(cat "errors.$shell")"
  [ ! -s "errors.$shell" ] || fail "$shell: $(head -n 5 "errors.$shell")"
  awk -v shell="$shell" -F '\t' '
    FILENAME ~ /^offers/ && /^offer / { line = substr($0, 7); asked[line] = 1; next }
    FILENAME ~ /^offers/ && /^end$/ { line = ""; next }
    FILENAME ~ /^offers/ {
      if (line ~ /=[^ ]*$/) sub(/^--[a-z-]*=/, "")
      sub(/[ \/]+$/, "")
      got[line, $0] = 1
      next
    }
    !($2 in asked) { print shell ": was not asked for " $2; next }
    FILENAME == "expected" && !(($2, $1) in got) { print shell ": does not offer " $1 " for: " $2 }
    FILENAME == "unexpected" && (($2, $1) in got) { print shell ": offers " $1 " for: " $2 }
  ' "offers.$shell" expected unexpected >wrong
  while IFS= read -r line; do fail "$line"; done <wrong
done

status=0
"$heed" completion tcsh 2>/dev/null || status=$?
[ "$status" -eq 2 ] || fail "heed completion tcsh exits with $status"
grep -q '^Usage: heed completion' <<<"$("$heed" completion --help)" || fail "heed completion --help shows no usage"
[ "$failures" -eq 0 ] || exit 1
echo "$options options and $(wc -l <expected) offers in:$shells${skipped:+; not installed:$skipped}"
