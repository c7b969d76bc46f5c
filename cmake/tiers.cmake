# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# bridge_tier_sources(VAR): kernels/cpu/tier_<tier>.c of the instruction sets that this architecture may
# have, each compiled for its own.  Nothing else is compiled for more than the architecture's baseline, so
# the program starts on any machine and looks before it uses them.
set(tier_flags_avx2 -mavx2 -mfma -mf16c -mpopcnt)
set(tier_flags_avx512 ${tier_flags_avx2} -mavx512f -mavx512bw -mavx512dq -mavx512vl
    -mprefer-vector-width=512)
set(tier_flags_avx512_bf16 ${tier_flags_avx512} -mavx512bf16)
set(tier_flags_amx ${tier_flags_avx512_bf16} -mamx-tile -mamx-bf16)

# Optimised in debug builds too: intrinsics that are not inlined would make tests take minutes.  Under
# the sanitizers lightly, and without the checks for undefined behaviour: they see every inlined product
# and take the compiler minutes and a gigabyte; address checks as calls, which halves the compiler's time;
# without the places of variables, which saves a third of the rest.
function(bridge_tier_sources out)
  set(tiers scalar)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$")
    list(APPEND tiers avx2 avx512 avx512_bf16 amx)
  elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$")
    list(APPEND tiers neon)
  endif()
  set(sources "")
  foreach(tier ${tiers})
    # An innermost loop that straddles a line of code it could have begun on costs up to a tenth.
    set(optimise -O3 -falign-functions=64 -falign-loops=64)
    if(CMAKE_BUILD_TYPE STREQUAL Debug)
      set(optimise -O1 -g1)
    endif()
    if(BRIDGE_SANITIZE)
      list(APPEND optimise -fno-sanitize=undefined)
      if(CMAKE_C_COMPILER_ID STREQUAL GNU)
        list(APPEND optimise --param=asan-instrumentation-with-call-threshold=0)
      endif()
    endif()
    set(source ${PROJECT_SOURCE_DIR}/kernels/cpu/tier_${tier}.c)
    set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "${optimise};${tier_flags_${tier}}")
    list(APPEND sources ${source})
  endforeach()
  set(${out} ${sources} PARENT_SCOPE)
endfunction()
