# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# Write the commit that SOURCE stands at into OUTPUT: 12 digits, and "+changes" if tracked files differ from it.
# Run by every build; the file is touched only when its text changes.  A tree that is not the top of a git
# checkout, such as an unpacked archive, even inside of another repository, has no commit.
set(COMMIT "")
find_program(git git)
if(git AND EXISTS ${SOURCE}/.git)
  # Named explicitly, so that neither the environment of a hook nor the owner of the folder matters; without
  # locks, so that a build never disturbs a git command.
  execute_process(COMMAND ${git} --no-optional-locks --git-dir=${SOURCE}/.git --work-tree=${SOURCE}
                          describe --always --exclude=* --abbrev=12 --dirty=+changes
                  WORKING_DIRECTORY ${SOURCE} OUTPUT_VARIABLE text OUTPUT_STRIP_TRAILING_WHITESPACE
                  RESULT_VARIABLE rc ERROR_QUIET)
  if(rc EQUAL 0 AND text MATCHES "^[0-9a-f]+(\\+changes)?$")
    set(COMMIT ${text})
  endif()
endif()
configure_file(${CMAKE_CURRENT_LIST_DIR}/commit.c.in ${OUTPUT} @ONLY)
