# Ops on torch's stable headers. They resolve against the libtorch that is already loaded; what is linked is an empty
# library of the same name, so that the build needs headers only and the result carries no path.
function(_spikeops_torch_stub name)
  if(TARGET stub_${name})
    return()
  endif()
  file(WRITE ${CMAKE_CURRENT_BINARY_DIR}/stub/empty.cpp "")
  add_library(stub_${name} SHARED ${CMAKE_CURRENT_BINARY_DIR}/stub/empty.cpp)
  set_target_properties(stub_${name} PROPERTIES OUTPUT_NAME ${name} LIBRARY_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/stub)
endfunction()

# spikeops_ops(target backend namespace): adds the ops of csrc to a library, for the backend of csrc/<backend>/backend.h and in a
# namespace of torch.ops. One translation unit: torch's headers take longer to compile than all ops.
function(spikeops_ops target backend namespace)
  set(objects ${target}_ops_${backend})
  file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/csrc/*.cpp ${PROJECT_SOURCE_DIR}/csrc/${backend}/*.cpp)
  add_library(${objects} OBJECT ${sources})
  set_target_properties(${objects} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 0)
  target_compile_definitions(${objects} PRIVATE SPIKEOPS_BACKEND="${backend}/backend.h" SPIKEOPS_NAMESPACE="${namespace}")
  _spikeops_torch_headers(${objects})
  target_sources(${target} PRIVATE $<TARGET_OBJECTS:${objects}>)
endfunction()

function(_spikeops_torch_headers target)
  target_include_directories(${target} SYSTEM PRIVATE ${SPIKEOPS_TORCH_INCLUDE})
  target_compile_definitions(
    ${target} PRIVATE TORCH_STABLE_ONLY TORCH_TARGET_VERSION=0x020a000000000000
                      SPIKEOPS_COMPILER="${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}"
                      SPIKEOPS_FLAGS="$<JOIN:${SPIKEOPS_KERNEL_FLAGS}, >" SPIKEOPS_TORCH_VERSION="${SPIKEOPS_TORCH_VERSION}")
  # No path of the build machine in error messages.
  target_compile_options(
    ${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -fmacro-prefix-map=${CMAKE_SOURCE_DIR}/=
                      -fmacro-prefix-map=${SPIKEOPS_TORCH_INCLUDE}/=>)
endfunction()

# spikeops_link_torch(target torch_cpu [torch_cuda])
function(spikeops_link_torch target)
  foreach(name IN LISTS ARGN)
    _spikeops_torch_stub(${name})
    target_link_libraries(${target} PRIVATE stub_${name})
  endforeach()
  if(APPLE)
    target_link_options(${target} PRIVATE -undefined dynamic_lookup)
  else()
    target_link_options(${target} PRIVATE -Wl,--no-as-needed -Wl,-z,lazy -Wl,--exclude-libs,ALL)
  endif()
  set_target_properties(${target} PROPERTIES SKIP_BUILD_RPATH ON INSTALL_RPATH "")
endfunction()
