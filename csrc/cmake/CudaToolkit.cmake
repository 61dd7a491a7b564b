# Finds the CUDA toolkit's root: SPIKEOPS_CUDA_ROOT is set, or empty with SPIKEOPS_CUDA_REASON. `nvcc` on the PATH may be a
# wrapper outside its toolkit, so nvcc itself is asked, not the folder that it lies in.
set(SPIKEOPS_CUDA_ROOT "")
set(SPIKEOPS_CUDA_REASON "no CUDA compiler: set CUDA_HOME to a toolkit, or put nvcc on the PATH")

set(_candidates "")
foreach(_variable CUDA_HOME CUDA_PATH CUDAToolkit_ROOT)
  if(DEFINED ENV{${_variable}})
    list(APPEND _candidates "$ENV{${_variable}}")
  endif()
endforeach()

find_program(_nvcc_on_path nvcc)
if(_nvcc_on_path)
  # A dry run prints the toolkit's root as TOP and runs nothing.
  execute_process(COMMAND ${_nvcc_on_path} --dryrun -x cu -c /dev/null -o /dev/null
                  OUTPUT_VARIABLE _dryrun ERROR_VARIABLE _dryrun_errors)
  if("${_dryrun}${_dryrun_errors}" MATCHES "TOP=([^\r\n]+)")
    string(STRIP "${CMAKE_MATCH_1}" _top)
    list(APPEND _candidates "${_top}")
  endif()
endif()
file(GLOB _usual /usr/local/cuda /usr/local/cuda-* /opt/cuda /usr/lib/cuda)
list(APPEND _candidates ${_usual})

foreach(_candidate IN LISTS _candidates)
  if(EXISTS "${_candidate}/bin/nvcc" AND NOT SPIKEOPS_CUDA_ROOT)
    get_filename_component(SPIKEOPS_CUDA_ROOT "${_candidate}" REALPATH)
  endif()
endforeach()

set(SPIKEOPS_CUDA_INCLUDE "")
if(SPIKEOPS_CUDA_ROOT)
  file(GLOB _includes ${SPIKEOPS_CUDA_ROOT}/include ${SPIKEOPS_CUDA_ROOT}/targets/*/include)
  foreach(_include IN LISTS _includes)
    if(EXISTS "${_include}/cuda_runtime.h" AND NOT SPIKEOPS_CUDA_INCLUDE)
      set(SPIKEOPS_CUDA_INCLUDE "${_include}")
    endif()
  endforeach()
  if(NOT SPIKEOPS_CUDA_INCLUDE)
    set(SPIKEOPS_CUDA_REASON "${SPIKEOPS_CUDA_ROOT} has nvcc but no include/cuda_runtime.h")
    set(SPIKEOPS_CUDA_ROOT "")
  endif()
endif()
