# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# stale.cmake - remove plugins of an earlier configuration whose source is gone, so that `bridge list` does not find them.
#   FOLDER  where built plugins are      NAMES  those that there are now
# The list of the last configuration is FOLDER/../plugins.built, one name a line.
cmake_policy(SET CMP0057 NEW)
set(record ${FOLDER}/../plugins.built)
if(EXISTS ${record})
  file(STRINGS ${record} before)
  foreach(name ${before})
    if(NOT name IN_LIST NAMES)
      file(REMOVE ${FOLDER}/bridge_${name}.so)
    endif()
  endforeach()
endif()
string(REPLACE ";" "\n" lines "${NAMES}")
file(MAKE_DIRECTORY ${FOLDER})
file(WRITE ${record} "${lines}\n")
