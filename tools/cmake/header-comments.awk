# Turns the comments of heed's headers into Doxygen's, for the reference (doc.cmake): Doxygen pipes each header through this. A block before
# a declaration tells of it, and of the declarations that follow without an empty line or a block of their own; a comment after a member
# tells of the member. The block at the top is the file's, and stays as it is, columns and all.

# What Doxygen would read as a command, a tag or a link of its own.
function plain(text) {
  gsub(/\\/, "\\\\", text)
  gsub(/&/, "\\&amp;", text)
  gsub(/</, "\\&lt;", text)
  gsub(/>/, "\\&gt;", text)
  gsub(/[@#%]/, "\\\\&", text)
  gsub(/"/, "\\\\\"", text)
  gsub(/::/, "\\::", text)
  return text
}
# Errors, and what a paragraph of their own makes easier to find.
function paragraph(text) { return text ~ /^(Errors?|Source):/ ? "///\n/// " plain(text) : "/// " plain(text) }
function flush() {
  if (block != "") printf "%s", block
  last = block
  block = ""
}

NR == 1 { top = 1 }
top && /^\/\// {
  sub(/^\/\/ ?/, "")
  print (NR == 1 ? "/** \\file\n\\verbatim\n" : "") $0
  next
}
top {
  print "\\endverbatim */"
  top = 0
}

# Rules between sections.
/^\/\/ -----/ {
  block = ""
  print ""
  next
}
/^ *\/\// {
  text = $0
  indent = match(text, /\//) - 1
  sub(/^ *\/\/ ?/, "", text)
  # The rest of a comment that began after a member.
  if (behind && (text ~ /^[a-z(]/ || indent > member)) {
    print "///< " plain(text)
    next
  }
  behind = 0
  block = block paragraph(text) "\n"
  next
}
/^ *$/ {
  # Nothing follows that a block would tell of.
  block = ""
  last = ""
  behind = 0
  print
  next
}
{
  behind = 0
  starts = !open && /^[a-zA-Z#]/
  if (block != "")
    flush()
  else if (starts && last != "" && /^HEED_API/)
    printf "%s", last
  # A comment after code, but not the // of an address in a text.
  if (match($0, / +\/\/ /)) {
    code = substr($0, 1, RSTART - 1)
    text = substr($0, RSTART + RLENGTH)
    if (code ~ /[;,{a-zA-Z0-9_]$/) {
      member = match(code, /[^ ]/) - 1
      print code " ///< " plain(text)
      behind = 1
      next_open(code)
      next
    }
  }
  next_open($0)
  print
}
# Whether the next line goes on with a declaration.
function next_open(code) { open = code !~ /[;{}]$/ && code !~ /^#/ }
