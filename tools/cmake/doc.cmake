# The target `doc`: the headers' text as pages, reference/html/index.html, and as man pages, reference/man/man3. A warning of Doxygen is an
# error, so that a comment which it does not understand does not drop out of the pages.
find_program(HEED_DOXYGEN doxygen)
mark_as_advanced(HEED_DOXYGEN)
if(HEED_DOXYGEN)
  configure_file(${CMAKE_CURRENT_LIST_DIR}/Doxyfile.in ${CMAKE_CURRENT_BINARY_DIR}/Doxyfile @ONLY)
  file(GLOB heed_doc_headers CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/host/include/heed/*.h)
  add_custom_command(
    OUTPUT ${CMAKE_CURRENT_BINARY_DIR}/reference/made
    COMMAND ${CMAKE_COMMAND} -E rm -rf ${CMAKE_CURRENT_BINARY_DIR}/reference
    COMMAND ${HEED_DOXYGEN} ${CMAKE_CURRENT_BINARY_DIR}/Doxyfile
    COMMAND ${CMAKE_COMMAND} -DFOLDER=${CMAKE_CURRENT_BINARY_DIR}/reference/man/man3 -P ${CMAKE_CURRENT_LIST_DIR}/doc-man.cmake
    COMMAND ${CMAKE_COMMAND} -E touch ${CMAKE_CURRENT_BINARY_DIR}/reference/made
    DEPENDS ${heed_doc_headers} ${CMAKE_CURRENT_LIST_DIR}/Doxyfile.in ${CMAKE_CURRENT_LIST_DIR}/header-comments.awk
    COMMENT "The reference of the headers: reference/html/index.html" VERBATIM)
  add_custom_target(doc DEPENDS ${CMAKE_CURRENT_BINARY_DIR}/reference/made)
endif()
