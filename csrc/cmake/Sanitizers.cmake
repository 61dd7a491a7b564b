# spikeops_sanitize(target parts... [OPTIONS flags...]): compiles a library's object parts, and links it, with AddressSanitizer and UBSan.
# Left out is what AddressSanitizer sees by itself once it is used, and of what a debugger would show all but the lines: two fifths of the
# time. Of gcc: a call for each access, instead of the check itself in its place, saves another third, more than the tests lose by it; and
# stacks are not prepared for a search that is off by default.
function(spikeops_sanitize target)
  cmake_parse_arguments(PARSE_ARGV 1 _given "" "" "OPTIONS")
  set(_quickly "$<$<CXX_COMPILER_ID:GNU>:--param=asan-instrumentation-with-call-threshold=0;--param=asan-use-after-return=0>")
  foreach(part IN LISTS target _given_UNPARSED_ARGUMENTS)
    target_compile_options(${part} PRIVATE -O1 -g1 -fno-omit-frame-pointer -fsanitize=address,undefined
                           -fno-sanitize-recover=undefined -fno-sanitize=null,object-size,pointer-overflow "${_quickly}" ${_given_OPTIONS})
  endforeach()
  target_link_options(${target} PRIVATE -fsanitize=address,undefined)
endfunction()
