# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# Write OUTPUT: which packages of Debian the files BUNDLED are from, and the licence texts of these packages.
# A library without a text is an error: its copy may not be passed on.  DOC, /usr/share/doc if not given, and
# LICENSES, /usr/share/common-licenses, are where Debian keeps the texts.
if(NOT DOC)
  set(DOC /usr/share/doc)
endif()
if(NOT LICENSES)
  set(LICENSES /usr/share/common-licenses)
endif()

find_program(dpkg_query dpkg-query)
if(NOT dpkg_query)
  message(FATAL_ERROR "third-party notices: dpkg-query is not there to say which package a bundled library is "
                      "from; make the tarball on Debian")
endif()

# The package that owns a file.  Debian 12 records files of /usr/lib under /lib as well.
function(package_of library out)
  file(REAL_PATH ${library} path)
  string(REGEX REPLACE "^/usr/" "/" alias ${path})
  foreach(name ${path} ${alias})
    execute_process(COMMAND ${dpkg_query} -S ${name} OUTPUT_VARIABLE line RESULT_VARIABLE rc ERROR_QUIET)
    if(rc EQUAL 0 AND line MATCHES "^([a-z0-9.+-]+)(:[a-z0-9]+)?: ")
      set(${out} ${CMAKE_MATCH_1}${CMAKE_MATCH_2} PARENT_SCOPE)
      return()
    endif()
  endforeach()
  message(FATAL_ERROR "third-party notices: ${path} is bundled, and no Debian package owns it; "
                      "install the library from its package")
endfunction()

# The text of a file, or an error that says whose it is.
function(read_text file whose out)
  if(NOT EXISTS ${file})
    message(FATAL_ERROR "third-party notices: ${file}, the licence text of ${whose}, is missing; "
                        "reinstall the package without leaving out its documentation")
  endif()
  file(READ ${file} text)
  set(${out} "${text}" PARENT_SCOPE)
endfunction()

set(rule "================================================================================")
set(table "")
set(packages "")
foreach(library ${BUNDLED})
  package_of(${library} package)
  list(APPEND packages ${package})
  file(REAL_PATH ${library} path)
  get_filename_component(file ${path} NAME)
  execute_process(COMMAND ${dpkg_query} -W -f "\${Version}, source \${source:Package} \${source:Version}" ${package}
                  OUTPUT_VARIABLE version COMMAND_ERROR_IS_FATAL ANY)
  string(REGEX REPLACE ":.*" "" name ${package})
  list(APPEND table "  ${file}: ${name} ${version}\n")
endforeach()
list(SORT table)
list(JOIN table "" table)
list(TRANSFORM packages REPLACE ":.*" "")
list(REMOVE_DUPLICATES packages)
list(SORT packages)

# Packages of one source often have the same text; it is written once, under all their names.
set(texts "")
set(common "")
set(digests "")
foreach(package ${packages})
  read_text(${DOC}/${package}/copyright "package ${package}" text)
  string(SHA256 digest "${text}")
  list(APPEND digests ${digest})
  list(APPEND names_${digest} ${package})
  set(text_${digest} "${text}")
  # Debian's files point to the long texts: .../GPL-2, or .../{MPL-1.1,GPL-2}.
  string(REGEX MATCHALL "/usr/share/common-licenses/[A-Za-z0-9.+{},-]+" names "${text}")
  list(TRANSFORM names REPLACE "^/usr/share/common-licenses/|[{}]" "")
  string(REPLACE "," ";" names "${names}")
  list(TRANSFORM names REPLACE "[.]+$" "")
  list(APPEND common ${names})
endforeach()
list(REMOVE_DUPLICATES digests)
foreach(digest ${digests})
  list(JOIN names_${digest} ", " names)
  string(APPEND texts "${rule}\nPackage ${names}\n${rule}\n\n${text_${digest}}\n")
endforeach()
list(REMOVE_DUPLICATES common)
list(SORT common)
foreach(licence ${common})
  read_text(${LICENSES}/${licence} "the packages that point to it" text)
  string(APPEND texts "${rule}\n/usr/share/common-licenses/${licence}\n${rule}\n\n${text}\n")
endforeach()

file(WRITE ${OUTPUT} "Third-party software in this archive
${rule}

lib/ holds unmodified copies of the shared libraries below, each from the Debian package behind it. They are not
part of bridge, and each is under its own licence. bridge loads them when it starts: any of them may be replaced
by another build of the same library. Their sources are Debian's, by the names and versions below, and can be had
from https://snapshot.debian.org.

${table}
What follows is the copyright file of each package, which covers all of its source, and then the licences that
these files point to.

${texts}")
