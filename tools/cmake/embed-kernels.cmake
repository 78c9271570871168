# Writes OUTPUT, a C file that holds each of the KERNELS as bytes: heed__cl_kernel_sources[] = {{name, text, length}, …, {0}}.
# A name is the path below FOLDER. CMake alone, so that a build needs no other tool. KERNELS arrives as a list with spaces or semicolons.
separate_arguments(KERNELS)
set(arrays "")
set(table "")
set(index 0)
foreach(kernel IN LISTS KERNELS)
  file(RELATIVE_PATH name ${FOLDER} ${kernel})
  file(READ ${kernel} hex HEX)
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
  string(APPEND arrays "static const unsigned char source_${index}[] = {${bytes}0x00};\n")
  string(APPEND table "    {\"${name}\", (const char *)source_${index}, sizeof source_${index} - 1},\n")
  math(EXPR index "${index} + 1")
endforeach()
file(WRITE ${OUTPUT} "// Generated from kernels_cl by embed-kernels.cmake.
#include \"cl/runtime/sources.h\"

${arrays}
const struct heed__cl_kernel_source heed__cl_kernel_sources[] = {
${table}    {0, 0, 0},
};
")
