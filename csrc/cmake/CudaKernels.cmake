# libspikeops_cuda. Under SPIKEOPS_CUDA=auto a toolkit that is missing or does not work is reported and left out; under `on` it
# stops the build.
function(_spikeops_without_cuda reason)
  if(SPIKEOPS_CUDA STREQUAL "on")
    message(FATAL_ERROR "SPIKEOPS_CUDA=on, but: ${reason}")
  endif()
  message(WARNING "Building without CUDA kernels: ${reason}\nSet SPIKEOPS_CUDA=off to build so on purpose.")
endfunction()

if(NOT SPIKEOPS_CUDA_ROOT)
  _spikeops_without_cuda("${SPIKEOPS_CUDA_REASON}")
  return()
endif()

# The newest last. Its PTX lets newer GPUs run the kernels too; that of variants like 90a would run on no other GPU.
list(REMOVE_DUPLICATES SPIKEOPS_CUDA_ARCHS)
list(SORT SPIKEOPS_CUDA_ARCHS COMPARE NATURAL)
set(_ptx ${SPIKEOPS_CUDA_ARCHS})
list(FILTER _ptx EXCLUDE REGEX "[af]$")
if(NOT _ptx)
  set(_ptx ${SPIKEOPS_CUDA_ARCHS})
endif()
list(GET _ptx -1 _ptx)

# Tried in a scratch project, since a failing enable_language() would stop this one.
if(NOT DEFINED SPIKEOPS_CUDA_WORKS OR NOT SPIKEOPS_CUDA_TRIED STREQUAL "${SPIKEOPS_CUDA_ROOT} ${SPIKEOPS_CUDA_ARCHS}")
  set(_try ${CMAKE_CURRENT_BINARY_DIR}/try_cuda)
  set(_architectures ${SPIKEOPS_CUDA_ARCHS})
  list(TRANSFORM _architectures REPLACE "(.+)" "-gencode=arch=compute_\\1,code=sm_\\1")
  file(WRITE ${_try}/kernel.cu "__global__ void kernel(float* x) { *x = 1; }\nint main() { kernel<<<1, 1>>>(nullptr); }\n")
  execute_process(COMMAND ${SPIKEOPS_CUDA_ROOT}/bin/nvcc ${_architectures} kernel.cu -o kernel WORKING_DIRECTORY ${_try}
                  RESULT_VARIABLE _result OUTPUT_VARIABLE _output ERROR_VARIABLE _output)
  if(_result EQUAL 0)
    set(SPIKEOPS_CUDA_WORKS ON CACHE INTERNAL "")
  else()
    set(SPIKEOPS_CUDA_WORKS OFF CACHE INTERNAL "")
    string(STRIP "${_output}" _output)
    set(SPIKEOPS_CUDA_FAILURE "${_output}" CACHE INTERNAL "")
  endif()
  set(SPIKEOPS_CUDA_TRIED "${SPIKEOPS_CUDA_ROOT} ${SPIKEOPS_CUDA_ARCHS}" CACHE INTERNAL "")
endif()
if(NOT SPIKEOPS_CUDA_WORKS)
  _spikeops_without_cuda("${SPIKEOPS_CUDA_ROOT}/bin/nvcc does not compile for ${SPIKEOPS_CUDA_ARCHS}: ${SPIKEOPS_CUDA_FAILURE}")
  return()
endif()

set(CMAKE_CUDA_COMPILER ${SPIKEOPS_CUDA_ROOT}/bin/nvcc)
set(CMAKE_CUDA_ARCHITECTURES OFF)
set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
set(CMAKE_CUDA_VISIBILITY_PRESET hidden)
set(CMAKE_CUDA_STANDARD 17)  # CMake 3.25 does not know CUDA 13's C++20
enable_language(CUDA)

file(GLOB _cuda_kernels CONFIGURE_DEPENDS kernels/cuda/*.cu)
add_library(spikeops_cuda SHARED ${_cuda_kernels})
spikeops_ops(spikeops_cuda cuda spikeops)
target_include_directories(spikeops_cuda_ops_cuda SYSTEM PRIVATE ${SPIKEOPS_CUDA_INCLUDE})
string(JOIN " " _built ${SPIKEOPS_CUDA_ARCHS})
target_compile_definitions(
  spikeops_cuda_ops_cuda PRIVATE USE_CUDA SPIKEOPS_CUDA_FLAGS="-O3 --fmad=false" SPIKEOPS_CUDA_ARCHS_BUILT="${_built}"
                                 SPIKEOPS_CUDA_PTX_BUILT="${_ptx}" SPIKEOPS_CUDA_VERSION="${CMAKE_CUDA_COMPILER_VERSION}")
# No contraction to fused multiply-add: float32 spikes are the same on every backend.
# nvcc only warns of a call of a function that is the host's alone, and leaves it out.
set(_gencode "")
foreach(_arch IN LISTS SPIKEOPS_CUDA_ARCHS)
  list(APPEND _gencode "-gencode=arch=compute_${_arch},code=sm_${_arch}")
endforeach()
list(APPEND _gencode "-gencode=arch=compute_${_ptx},code=compute_${_ptx}")
# A quarter of the machine code's size. Drivers read it from CUDA 12.4 on: all that a library built with CUDA 13 runs under.
if(CMAKE_CUDA_COMPILER_VERSION VERSION_GREATER_EQUAL 13)
  target_compile_options(spikeops_cuda PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:--compress-mode=size>)
endif()
target_compile_options(spikeops_cuda PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:--fmad=false;--Werror=cross-execution-space-call;${_gencode}>)
target_link_options(spikeops_cuda PRIVATE -Wl,--gc-sections)
spikeops_link_torch(spikeops_cuda torch_cpu torch_cuda)
spikeops_old_runtimes(spikeops_cuda pthread rt)
# Optional: setup.py goes on without it where SPIKEOPS_CUDA=auto and the compilation failed.
install(TARGETS spikeops_cuda LIBRARY DESTINATION . OPTIONAL RUNTIME DESTINATION . OPTIONAL)
