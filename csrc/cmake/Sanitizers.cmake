# spikeops_sanitize(target parts... [OPTIONS flags...]): compiles a library's object parts, and links it, with AddressSanitizer and UBSan.
# Left out is what AddressSanitizer sees by itself, and of what a debugger would show all but the lines: two fifths of the time.
function(spikeops_sanitize target)
  cmake_parse_arguments(PARSE_ARGV 1 _given "" "" "OPTIONS")
  foreach(part IN LISTS target _given_UNPARSED_ARGUMENTS)
    target_compile_options(${part} PRIVATE -O1 -g1 -fno-omit-frame-pointer -fsanitize=address,undefined
                           -fno-sanitize-recover=undefined -fno-sanitize=null,object-size ${_given_OPTIONS})
  endforeach()
  target_link_options(${target} PRIVATE -fsanitize=address,undefined)
endfunction()
