#!/usr/bin/env bash
# Arrows between the folders of the source point down only: base <- core <- {ops, cpu, cl} <- api; nn, io and tools stand on the
# public headers. First the tree is checked, then, in a copy, that each kind of violation is found.
# Usage: tests/test_layers.sh
set -euo pipefail
source_dir=$(cd "$(dirname "$0")/.." && pwd)

fail() {
  echo "$*" >&2
  exit 1
}

# Prints "FILE:LINE: what is wrong" for each violation in the tree at $1.
violations() {
  cd "$1"
  find host tools -name '*.[ch]' -print0 | sort -z | xargs -0 awk '
    BEGIN {
      # What each folder may include in quotes, and in angle brackets beside the C and POSIX libraries.
      quoted["host/include/heed"] = "^$"
      quoted["host/base"] = "^base/"
      quoted["host/core"] = "^(base|core)/"
      quoted["host/ops"] = "^(base|core|ops)/"
      quoted["host/cpu"] = "^(base|core|cpu)/"
      quoted["host/cl"] = "^(base|core|cl)/"
      quoted["host/cl/runtime"] = "^(base|core|cl/runtime)/"
      quoted["host/cl/tuning"] = "^(base|core|cl/runtime|cl/tuning)/|^cl/rooms[.]h$"
      quoted["host/cl/gemm"] = "^(base|core|cl/runtime|cl/tuning|cl/gemm)/|^cl/(rooms|operators)[.]h$"
      quoted["host/cl/attention"] = "^(base|core|cl/runtime|cl/tuning|cl/attention)/|^cl/(rooms|operators)[.]h$"
      quoted["host/cl/ops"] = "^(base|core|cl/runtime|cl/ops)/|^cl/operators[.]h$"
      quoted["host/api"] = "^(base|core|ops|cpu|cl|api)/"
      quoted["host/nn"] = "^(base|nn)/"
      quoted["host/io"] = "^(base|io)/"
      # The rooms of the program: cli is for all, cases for those that run operators on shapes; no subcommand uses another.
      quoted["tools"] = "^cli/"
      quoted["tools/cli"] = "^cli/"
      quoted["tools/cases"] = "^(cli|cases)/"
      quoted["tools/check"] = "^(cli|cases|check)/"
      quoted["tools/bench"] = "^(cli|cases|bench)/"
      quoted["tools/tune"] = "^(cli|cases|tune)/"
      quoted["tools/run"] = "^(cli|run)/"
      quoted["tools/train"] = "^(cli|train)/"
      angled["host/cpu"] = "^omp[.]h$"
      angled["host/cl/runtime"] = "^(CL/cl(_ext)?|zlib)[.]h$"
      angled["host/cl/tuning"] = "^jansson[.]h$"
      angled["host/cl/gemm"] = "^clblast_c[.]h$"
      angled["host/base"] = "^jansson[.]h$"
      angled["host/io"] = "^(jansson|zlib)[.]h$"
      for (room in quoted) if (room ~ "^tools") angled[room] = "^(jansson|popt|zlib)[.]h$"
      system_headers = "^(assert|ctype|dirent|dlfcn|errno|fcntl|float|inttypes|limits|locale|math|poll|pthread|signal|stdarg|" \
        "stdatomic|stdbool|stddef|stdint|stdio|stdlib|string|strings|time|unistd|sys/[a-z]+)[.]h$"
    }
    function wrong(text) { print FILENAME ":" FNR ": " text }
    FNR == 1 {
      folder = FILENAME
      sub("/[^/]*$", "", folder)
      if (!(folder in quoted)) wrong(folder " belongs to no layer that tests/test_layers.sh knows")
    }
    /^[ \t]*#[ \t]*include/ {
      target = $0
      sub("^[^\"<]*[\"<]", "", target)
      sub("[\">].*$", "", target)
      # One operator is three products.
      if (FILENAME == "host/cl/ops/linear.c" && target == "cl/gemm/gemm.h") next
      if ($0 ~ /include[ \t]*"/) allowed = folder in quoted && target ~ quoted[folder] && target !~ /[.][.]/
      else allowed = target ~ system_headers || target ~ /^heed\// || (folder in angled && target ~ angled[folder]) ||
                     (FILENAME == "host/include/heed/opencl.h" && target == "CL/cl.h")
      if (!allowed) wrong(folder " may not include " target)
    }
    /heed__cl_(backend|backend_open|backend_open_with)[^a-z_]/ && folder !~ /^host\/(api|cl)$/ { wrong("only host/api chooses a backend") }
    /heed__cpu_(backend|open)[^a-z_]/ && folder !~ /^host\/(api|cpu)$/ { wrong("only host/api chooses a backend") }
    /(^|[^a-z_])(__kernel|get_(global|local|group)_id)[^a-z_]/ { wrong("kernels live in kernels_cl, as .cl files") }'
  find host tools tests -name '*.cl' -not -path 'tests/toy/*' -printf '%p:1: kernels live in kernels_cl\n'
}

found=$(violations "$source_dir")
[ -z "$found" ] || fail "$found"
echo "the layers hold"

# ---- the check finds what it is for
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cp -r "$source_dir/host" "$source_dir/tools" "$source_dir/tests" "$scratch"

planted() { # FILE LINE
  mkdir -p "$(dirname "$scratch/$1")"
  printf '%s\n' "$2" >"$scratch/$1"
  found=$(violations "$scratch")
  rm "$scratch/$1"
  [[ $found == "$1:1: "* && $(wc -l <<<"$found") == 1 ]] || fail "$1 with '$2' should be the one violation, not: ${found:-none}"
}
planted host/base/planted.c '#include "core/core.h"'
planted host/core/planted.c '#include "ops/check.h"'
planted host/core/planted.h '  #  include "cl/runtime/runtime.h"'
planted host/ops/planted.c '#include "cpu/cpu.h"'
planted host/cpu/planted.c '#include "cl/runtime/runtime.h"'
planted host/cpu/planted.c '#include "cpu/../cl/cl.h"'
planted host/cl/planted.c '#include "cpu/rows.h"'
planted host/nn/planted.c '#include "core/core.h"'
planted host/io/planted.c '#include "nn/module.h"'
planted tools/planted.c '#include "base/size.h"'
planted tools/planted.c '#include <CL/cl.h>'
planted tools/planted.c '#include "run/run.h"'
planted tools/cli/planted.c '#include "cases/case.h"'
planted tools/cases/planted.c '#include "check/junit.h"'
planted tools/bench/planted.c '#include "tune/search.h"'
planted tools/run/planted.c '#include "cases/case.h"'
planted tools/train/planted.c '#include "run/run.h"'
planted tools/planning/planted.c 'int x;'
planted host/cpu/planted.c '#include <clblast_c.h>'
planted host/include/heed/planted.h '#include "base/status.h"'
planted host/include/heed/planted.h '#include <jansson.h>'
planted host/core/planted.c 'const void *backend = &heed__cpu_backend;'
planted host/cpu/planted.c 'heed_status status = heed__cl_backend_open(ctx, device, config);'
planted host/cl/planted.c 'const char *text = "__kernel void fill() {}";'
planted host/cl/planted.cl '__kernel void fill() {}'
planted host/rocm/planted.c 'int x;'
echo "and each planted violation is found"
