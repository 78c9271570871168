#!/usr/bin/env bash
# Arrows between the folders of the source point down only: base <- core <- {ops, cpu, cl} <- api; nn, io, lm, text, mpi and tools stand
# on the public headers. Three facts are asked: what a file includes, which symbols of other files its object calls, and how large
# files, functions and folders are. First of the tree and its objects, then, in a copy, that each kind of violation is found.
# Usage: tests/test_layers.sh BUILD
set -euo pipefail
source_dir=$(cd "$(dirname "$0")/.." && pwd)
objects=${1:?the build folder is needed}/CMakeFiles/heed_objects.dir
mpi_objects=${1:?}/CMakeFiles/heed_mpi_objects.dir  # where there is MPI
failures=0

fail() {
  echo "$*" >&2
  failures=$((failures + 1))
}

# ---- the table, for includes and for symbols
# shellcheck disable=SC2016 # awk's, not the shell's
tables='
    BEGIN {
      # What each folder may include in quotes, and in angle brackets beside the C and POSIX libraries. A file may have more of its own.
      quoted["host/include/heed"] = "^$"
      quoted["host/base"] = "^base/"
      quoted["host/windows"] = "^$"  # POSIX, for systems that lack it
      quoted["host/core"] = "^(base|core)/"
      quoted["host/ops"] = "^(base|core|ops)/"
      quoted["host/cpu"] = "^(base|core|cpu)/"
      quoted["host/cl"] = "^(base|core|cl)/"
      quoted["host/cl/runtime"] = "^(base|core|cl/runtime)/"
      quoted["host/cl/tuning"] = "^(base|core|cl/runtime|cl/tuning)/|^cl/rooms[.]h$"
      quoted["host/cl/gemm"] = "^(base|core|cl/runtime|cl/tuning|cl/gemm)/|^cl/(rooms|operators)[.]h$"
      quoted["host/cl/attention"] = "^(base|core|cl/runtime|cl/tuning|cl/attention)/|^cl/(rooms|operators)[.]h$|^kernels_cl/attention/call[.]cl$"
      quoted["host/cl/ops"] = "^(base|core|cl/runtime|cl/ops)/|^cl/operators[.]h$"
      quoted["host/cl/ops/linear.c"] = "^cl/gemm/gemm[.]h$"  # one operator is three products
      quoted["host/api"] = "^(base|core|api)/"
      quoted["host/api/drivers.c"] = "^(cpu/cpu|cl/backend)[.]h$"
      quoted["host/api/opencl.c"] = "^cl/backend[.]h$"
      quoted["host/nn"] = "^(base|nn)/"
      quoted["host/io"] = "^(base|io)/"
      quoted["host/lm"] = "^(base|lm)/"
      quoted["host/text"] = "^(base|text)/"
      quoted["host/text/parts"] = "^(base|text/parts)/"
      quoted["host/text/read"] = "^(base|text/(parts|read))/"
      quoted["host/mpi"] = "^mpi/"
      # The rooms of the program: cli is for all, draw for those that make pictures, cases for those that run
      # operators on shapes; no subcommand uses another.
      quoted["tools"] = "^cli/"
      quoted["tools/cli"] = "^cli/"
      quoted["tools/draw"] = "^(cli|draw)/"
      quoted["tools/cases"] = "^(cli|cases)/"
      quoted["tools/check"] = "^(cli|cases|check)/"
      quoted["tools/bench"] = "^(cli|draw|cases|bench)/"
      quoted["tools/tune"] = "^(cli|cases|tune)/"
      quoted["tools/run"] = "^(cli|draw|run)/"
      quoted["tools/train"] = quoted["tools/train/pictures"] = "^(cli|draw|ranks|train)/"
      quoted["tools/plot"] = "^(cli|draw|plot)/"
      quoted["tools/lm"] = "^(cli|draw|lm|ranks)/"
      quoted["tools/ranks"] = "^(cli|ranks)/"
      quoted["tools/windows"] = "^(check/helper|cli/child|train/warmup)[.]h$"  # stands in for their sources
      quoted["tools/examples"] = "^$"  # programs of strangers: public headers alone
      angled["host/cpu"] = "^omp[.]h$"
      angled["host/cl/runtime"] = "^zlib[.]h$"
      angled["host/cl/runtime/icd_windows.c"] = "^windows[.]h$"
      angled["host/windows"] = "^(io|windows)[.]h$"
      angled["host/cl/runtime/processor.c"] = "^cpuid[.]h$"
      angled["host/cl/tuning"] = "^jansson[.]h$"
      angled["host/cl/gemm"] = "^clblast_c[.]h$"
      angled["host/base"] = "^jansson[.]h$"
      angled["host/io"] = "^(jansson|zlib)[.]h$"
      angled["host/lm"] = "^(jansson|zlib)[.]h$"
      angled["host/text/parts"] = "^(pcre2|utf8proc)[.]h$"
      angled["host/text/read"] = "^jansson[.]h$"
      angled["host/mpi"] = "^mpi[.]h$"
      for (room in quoted) if (room ~ "^tools" && room != "tools/examples") angled[room] = "^(jansson|popt|zlib)[.]h$"
      angled["tools/windows"] = "^(io|process)[.]h$"
      angled["tools/lm/label.c"] = "^utf8proc[.]h$"
      system_headers = "^(assert|ctype|dirent|dlfcn|errno|fcntl|float|inttypes|limits|locale|math|poll|pthread|sched|signal|stdarg|" \
        "stdatomic|stdbool|stddef|stdint|stdio|stdlib|string|strings|time|unistd|wchar|sys/[a-z]+)[.]h$"
      # What each folder, or file, may call beside the files that it may include: "FILE SYMBOL". Names with one underscore are public.
      calls["host/cl/attention"] = " heed__cl_(fill|copy)$"
      calls["host/cl/ops/linear.c"] = "^cl/gemm/"
      calls["host/api"] = "^ops/.* heed_[a-z]"
      calls["host/api/drivers.c"] = "^(cl|cpu)/"
      calls["host/api/opencl.c"] = "^cl/"
      calls["host/nn"] = calls["host/io"] = calls["host/lm"] = calls["host/text"] = calls["host/text/read"] = calls["host/mpi"] = " heed_[a-z]"
    }
    function folder_of(file) { sub("/[^/]*$", "", file); return file }'

# ---- includes
# Prints "FILE:LINE: what is wrong" for each violation in the tree at $1.
includes() (
  cd "$1"
  operators=$(grep -oE '^  X\([a-z0-9_]+' host/core/operators.h | sed -E 's/^  X\(//; s/(_fwd|_bwd)+$//' | sort -u | tr '\n' ' ')
  find host tools -name '*.[ch]' -print0 | sort -z | xargs -0 awk -v operators="$operators" "$tables"'
    BEGIN {
      # Names that are words of every day count as part of a function name only.
      for (i = split(operators, names, " "); i > 0; --i)
        operator = operator "|" (names[i] ~ /^(fill|copy|add)$/ ? "heed__(cl_)?" : "") names[i]
      operator = "(^|[^a-z])(" substr(operator, 2) ")([^a-z]|$)"
    }
    function wrong(text) { print FILENAME ":" FNR ": " text }
    FNR == 1 {
      folder = folder_of(FILENAME)
      if (!(folder in quoted)) wrong(folder " belongs to no layer that tests/test_layers.sh knows")
    }
    /^[ \t]*#[ \t]*include/ {
      target = $0
      sub("^[^\"<]*[\"<]", "", target)
      sub("[\">].*$", "", target)
      if ($0 ~ /include[ \t]*"/)
        allowed = ((folder in quoted && target ~ quoted[folder]) || (FILENAME in quoted && target ~ quoted[FILENAME])) &&
                  target !~ /[.][.]/
      else allowed = target ~ system_headers || target ~ /^heed\// || (folder in angled && target ~ angled[folder]) ||
                     (FILENAME in angled && target ~ angled[FILENAME]) ||
                     (FILENAME == "host/include/heed/opencl.h" && target ~ /^(CL|OpenCL)\/cl[.]h$/)
      if (!allowed) wrong(folder " may not include " target)
    }
    folder ~ /^host\/cl\/(runtime|tuning)$/ && tolower($0) ~ operator { wrong(folder " knows no operator by name") }
    /heed__cl_(backend|backend_open|backend_open_with)[^a-z_]/ && FILENAME !~ /^host\/(api\/(drivers|opencl)[.]c$|cl\/[a-z]*[.])/ {
      wrong("only host/api/drivers.c chooses a backend")
    }
    /heed__cpu_(backend|open)[^a-z_]/ && FILENAME !~ /^host\/(api\/drivers[.]c$|cpu\/)/ {
      wrong("only host/api/drivers.c chooses a backend")
    }
    FILENAME != "tools/examples/own_queue.c" && /(^|[^a-z_])(__kernel|get_(global|local|group)_id)[^a-z_]/ { wrong("kernels live in kernels_cl, as .cl files") }'
  find host tools tests -name '*.cl' -not -path 'tests/toy/*' -printf '%p:1: kernels live in kernels_cl\n'
)

# ---- symbols
# `nm` of the objects at $1 whose sources are in the tree at $2: a build folder may hold those of files that are gone.
symbols_of() (
  cd "$1"
  find host -name '*.o' | sort | while read -r object; do
    if [ -e "$2/${object%.o}" ]; then echo "$object"; fi
  done | xargs nm -P -A -g
)

# "CALLER OWNER SYMBOL" for each symbol that a file uses and another defines, of `nm`'s lines on standard input.
arrows() {
  awk '
    { file = $1; sub("[.]o:$", "", file); }
    $3 == "U" || $3 == "w" || $3 == "v" { used[file " " $2]; next }
    { owner[$2] = file }
    END {
      for (use in used) {
        split(use, part, " ")
        if (part[2] in owner && owner[part[2]] != part[1]) print part[1], owner[part[2]], part[2]
      }
    }' | sort
}

# "circle: A B ..." for each circle among the pairs on standard input.
circles() {
  { tsort 2>&1 >/dev/null || true; } | awk -v what="$1" '
    /loop:$/ { if (line) print line; line = what ":"; next }
    { line = line " " $2 }
    END { if (line) print line }'
}

# What is wrong with the arrows on standard input.
symbols() {
  local all
  all=$(arrows)
  awk "$tables"'
    {
      folder = folder_of($1)
      target = $2
      sub("^host/", "", target)
      header = target
      sub("[.]c$", ".h", header)
      call = target " " $3
      allowed = header ~ quoted[folder] || ($1 in quoted && header ~ quoted[$1]) || (folder in calls && call ~ calls[folder]) ||
                ($1 in calls && call ~ calls[$1])
      if (!(folder in quoted) || !allowed) print $1 ": may not call " $3 " of " $2
    }' <<<"$all"
  awk '{ a = $1; b = $2; sub("/[^/]*$", "", a); sub("/[^/]*$", "", b); if (a == b) print $1, $2 }' <<<"$all" | circles "circle of files"
  awk '{ a = $1; b = $2; sub("/[^/]*$", "", a); sub("/[^/]*$", "", b); if (a != b) print a, b }' <<<"$all" | sort -u |
    circles "circle of folders"
}

# ---- sizes
sizes() (
  cd "$1"
  find host kernels_cl tools tests -type f ! -path 'tests/fuzz/corpus/*' ! -name '*.safetensors' ! -path 'tools/man/*' | sort | xargs wc -l |
    awk '$2 != "total" && $1 > 500 { print $2 ": " $1 " lines, and 500 are the most" }'
  # A function: from the line at column 0 that opens its argument list to the brace at column 0.
  find host tools -name '*.[ch]' | sort | xargs awk '
    FNR == 1 { start = 0 }
    /^[A-Za-z_].*\(/ { start = FNR; body = 0 }
    start && !body && /;$/ { start = 0 }
    start && /\{$/ { body = 1 }
    /^}/ {
      if (start && body && FNR - start + 1 > 60) print FILENAME ":" start ": a function of " FNR - start + 1 " lines, and 60 are the most"
      start = 0
    }'
  find host kernels_cl tools -name '*.[ch]' -o -name '*.cl' | sed 's|/[^/]*$||' | sort | uniq -c |
    awk '$1 > 25 { print $2 ": " $1 " sources, and 25 are the most of a folder" }'
)

# ---- the tree
found=$(includes "$source_dir")
[ -z "$found" ] || fail "$found"
names=$(symbols_of "$objects" "$source_dir")
[ ! -d "$mpi_objects" ] || names+=$'\n'$(symbols_of "$mpi_objects" "$source_dir")
found=$(symbols <<<"$names")
[ -z "$found" ] || fail "$found"
found=$(sizes "$source_dir")
[ -z "$found" ] || fail "$found"
[ "$failures" != 0 ] || echo "the layers hold"

# ---- the checks find what they are for
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cp -r "$source_dir/host" "$source_dir/tools" "$source_dir/tests" "$source_dir/kernels_cl" "$scratch"
before_includes=$(includes "$scratch")
before_symbols=$(symbols <<<"$names")
before_sizes=$(sizes "$scratch")

# The lines of $2 that are not in $1 are one, which begins with $3. A call upwards closes a circle of folders besides.
one_more() { # BEFORE AFTER BEGINNING WHAT
  local more
  more=$(comm -13 <(sort <<<"$1") <(sort <<<"$2"))
  [[ $3 != *"may not call"* ]] || more=$(grep -v '^circle of folders' <<<"$more" || true)
  [[ $more == "$3"* && $(wc -l <<<"$more") == 1 ]] || fail "$4 should be the one violation, not: ${more:-none}"
}

planted() { # FILE LINE
  mkdir -p "$(dirname "$scratch/$1")"
  printf '%s\n' "$2" >"$scratch/$1"
  one_more "$before_includes" "$(includes "$scratch")" "$1:1: " "$1 with '$2'"
  rm "$scratch/$1"
}
planted host/base/planted.c '#include "core/core.h"'
planted host/core/planted.c '#include "ops/check.h"'
planted host/core/planted.h '  #  include "cl/runtime/runtime.h"'
planted host/ops/planted.c '#include "cpu/cpu.h"'
planted host/cpu/planted.c '#include "cl/runtime/runtime.h"'
planted host/cpu/planted.c '#include "cpu/../cl/cl.h"'
planted host/cl/planted.c '#include "cpu/rows.h"'
planted host/cl/runtime/planted.c '#include "cl/tuning/tuning.h"'
planted host/cl/tuning/planted.c '#include "cl/operators.h"'
planted host/cl/gemm/planted.c '#include "cl/attention/attention.h"'
planted host/cl/attention/planted.c '#include "cl/gemm/gemm.h"'
planted host/cl/ops/planted.c '#include "cl/gemm/gemm.h"'
planted host/cl/gemm/planted.c '#include "cl/backend.h"'
planted host/api/planted.c '#include "cl/backend.h"'
planted host/nn/planted.c '#include "core/core.h"'
planted host/nn/planted.c '#include <mpi.h>'
planted host/mpi/planted.c '#include "base/status.h"'
planted tools/ranks/planted.c '#include <mpi.h>'
planted tools/ranks/planted.c '#include "lm/lm.h"'
planted host/io/planted.c '#include "nn/module.h"'
planted tools/planted.c '#include "base/size.h"'
planted tools/planted.c '#include <CL/cl.h>'
planted tools/planted.c '#include "run/run.h"'
planted tools/cli/planted.c '#include "cases/case.h"'
planted tools/cases/planted.c '#include "check/junit.h"'
planted tools/bench/planted.c '#include "tune/search.h"'
planted tools/run/planted.c '#include "cases/case.h"'
planted tools/train/planted.c '#include "run/run.h"'
planted tools/plot/planted.c '#include "bench/bench.h"'
planted tools/examples/planted.c '#include "cli/cli.h"'
planted tools/examples/planted.c '#include <jansson.h>'
planted tools/planning/planted.c 'int x;'
planted host/cpu/planted.c '#include <clblast_c.h>'
planted host/include/heed/planted.h '#include "base/status.h"'
planted host/include/heed/planted.h '#include <jansson.h>'
planted host/core/planted.c 'const void *backend = &heed__cpu_backend;'
planted host/api/planted.c 'const void *backend = &heed__cl_backend;'
planted host/cpu/planted.c 'heed_status status = heed__cl_backend_open(ctx, device, config);'
planted host/cl/planted.c 'const char *text = "__kernel void fill() {}";'
planted host/cl/planted.cl '__kernel void fill() {}'
planted host/cl/runtime/planted.c '// Softmax has a way of its own here.'
planted host/cl/runtime/planted.c 'return heed__cl_fill(ctx, call);'
planted host/cl/tuning/planted.c 'if (problem->op == HEED_TUNE_GEMM) return 0;'
planted host/rocm/planted.c 'int x;'

# Objects of planted files that call and define what is said: FILE "CALLS" "DEFINES" ..., after what is to be found.
planted_calls() {
  local beginning=$1 more="" text
  shift
  for ((; $# >= 3; )); do
    text=""
    for name in $3; do text+="void $name(void) {} "; done
    for name in $2; do text+="void $name(void); "; done
    text+="static void calls(void) {"
    for name in $2; do text+=" $name();"; done
    printf '%s }\nvoid (*calls_of_%s)(void) = calls;\n' "$text" "$(tr -c 'a-z\n' _ <<<"${1%.c}")" >"$scratch/planted.c"
    mkdir -p "$scratch/objects/$(dirname "$1")"
    "${CC:-cc}" -c "$scratch/planted.c" -o "$scratch/objects/$1.o"
    touch "$scratch/$1"
    shift 3
  done
  more=$(symbols_of "$scratch/objects" "$scratch")
  one_more "$before_symbols" "$(symbols <<<"$names"$'\n'"$more")" "$beginning" "planted: $beginning"
  find "$scratch/objects" -name '*.o' | while read -r object; do rm "$object" "$scratch/$(sed "s|^$scratch/objects/||; s|[.]o$||" <<<"$object")"; done
}
planted_calls "host/base/planted.c: may not call heed__fail_nowhere" host/base/planted.c heed__fail_nowhere "" \
  host/core/planted.c "" heed__fail_nowhere
planted_calls "host/core/planted.c: may not call heed_softmax_fwd" host/core/planted.c heed_softmax_fwd ""
planted_calls "host/ops/planted.c: may not call heed__cpu_open" host/ops/planted.c heed__cpu_open ""
planted_calls "host/cpu/planted.c: may not call heed_open" host/cpu/planted.c heed_open ""
planted_calls "host/nn/planted.c: may not call heed__tensor_text" host/nn/planted.c heed__tensor_text ""
planted_calls "host/io/planted.c: may not call heed__cl_sync" host/io/planted.c heed__cl_sync ""
planted_calls "host/cl/runtime/planted.c: may not call heed__cl_tuning_find" host/cl/runtime/planted.c heed__cl_tuning_find ""
planted_calls "host/cl/tuning/planted.c: may not call heed__cl_gemm" host/cl/tuning/planted.c heed__cl_gemm ""
planted_calls "host/cl/gemm/planted.c: may not call heed__cl_attention_fwd" host/cl/gemm/planted.c heed__cl_attention_fwd ""
planted_calls "host/cl/attention/planted.c: may not call heed__cl_add" host/cl/attention/planted.c "heed__cl_add heed__cl_copy" ""
planted_calls "host/cl/ops/planted.c: may not call heed__cl_gemm" host/cl/ops/planted.c heed__cl_gemm ""
planted_calls "host/api/planted.c: may not call heed__cl_close" host/api/planted.c heed__cl_close ""
planted_calls "circle of files: host/cpu/planted" host/cpu/planted.c heed__b heed__a host/cpu/planted_too.c heed__a heed__b
planted_calls "circle of folders: host/" host/nn/planted.c heed_b heed_a host/io/planted.c heed_a heed_b

planted_size() { # BEGINNING
  one_more "$before_sizes" "$(sizes "$scratch")" "$1" "planted: $1"
  rm "$scratch"/host/nn/planted*
}
yes '// a line' 2>/dev/null | head -501 >"$scratch/host/nn/planted.c" || true
planted_size "host/nn/planted.c: 501 lines"
{ printf 'static int planted(int x,\n                   int y) {\n'; yes '  ++x;' 2>/dev/null | head -58; printf '}\n'; } >"$scratch/host/nn/planted.c" || true
planted_size "host/nn/planted.c:1: a function of 61 lines"
for i in {1..26}; do touch "$scratch/host/nn/planted$i.h"; done
planted_size "host/nn: "
[ "$failures" == 0 ] || exit 1
echo "and each planted violation is found"
