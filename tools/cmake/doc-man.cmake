# cmake -DFOLDER=... -P: of the man pages that Doxygen wrote there, keeps those of headers, functions, types and constants. It also writes one for
# each field of a struct, whose names (batch.3, cache.3) may be those of other pages.
file(GLOB pages ${FOLDER}/*)
list(FILTER pages EXCLUDE REGEX "/(heed_|HEED_)[^/]*[.]3$|/[a-z]+[.]h[.]3$")
file(REMOVE ${pages})
