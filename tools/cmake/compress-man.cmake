# Run by cpack on the tree that it packs: Debian's man pages are compressed, without a time in them, so that equal trees give equal packages.
if(CPACK_GENERATOR STREQUAL "DEB")
  file(GLOB_RECURSE pages ${CPACK_TEMPORARY_DIRECTORY}/*.1)
  list(FILTER pages INCLUDE REGEX "/man1/[^/]*$") # libheed.so.0.2 ends like them
  if(pages)
    execute_process(COMMAND gzip -9n ${pages} COMMAND_ERROR_IS_FATAL ANY)
  endif()
endif()
