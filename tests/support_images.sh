# Sourced: make_images FOLDER COUNT writes MNIST's four files with COUNT images each, the same bytes everywhere.
make_images() {
  local folder=$1 count=$2 part octal
  mkdir -p "$folder"
  octal=$(printf '\\%03o\\%03o' $((count / 256)) $((count % 256)))
  for part in train t10k; do
    { printf '\0\0\010\003\0\0'"$octal"'\0\0\0\034\0\0\0\034' && head -c $((count * 28 * 28)) < <(yes "$(seq 1 997)"); } >"$folder/$part-images-idx3-ubyte"
    { printf '\0\0\010\001\0\0'"$octal" && head -c "$count" < <(yes $'\001\002\003\007' | tr '\n' '\0'); } >"$folder/$part-labels-idx1-ubyte"
  done
}
