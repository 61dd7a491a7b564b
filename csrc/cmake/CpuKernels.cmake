# The CPU kernels, compiled once per instruction set and picked at run time.
set(SPIKEOPS_KERNEL_FLAGS -O3 -ffp-contract=off -fno-math-errno -fno-trapping-math)

set(_cpu_dir ${CMAKE_CURRENT_SOURCE_DIR}/kernels/cpu)
file(GLOB SPIKEOPS_CPU_SOURCES CONFIGURE_DEPENDS ${_cpu_dir}/*.cpp)
list(REMOVE_ITEM SPIKEOPS_CPU_SOURCES ${_cpu_dir}/select.cpp)  # for any CPU

if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64|amd64")
  set(_isas v2 v3 v4)
else()
  set(_isas native)
endif()
set(SPIKEOPS_ISAS "${_isas}" CACHE STRING "instruction sets to compile the CPU kernels for, narrowest first: some of v2;v3;v4 on x86-64 \
(the library then needs a CPU that has the first one); native: once, for any CPU of the architecture, slow kernels, quickly built")
# The tests' module is linked with the very code that the wheel holds.
set(SPIKEOPS_COMPILED_KERNELS "" CACHE PATH "build folder of libspikeops_cpu, from these sources, whose kernels need not be compiled again")
# Sanitizers look at the source, which is the same for all instruction sets.
if(SPIKEOPS_TESTING_SANITIZE)
  set(SPIKEOPS_ISAS native)
  set(SPIKEOPS_COMPILED_KERNELS "")
endif()

# Of neurons with many options that are the same for all of a layer, gcc would write the loop over neurons once for each choice: up to eight
# times, a third of their code.
set(SPIKEOPS_MANY_OPTIONS ${_cpu_dir}/cuba_lif.cpp ${_cpu_dir}/recurrent.cpp)

# Adds the kernels of every instruction set, and the choice among them, to a target.
function(spikeops_cpu_kernels target)
  set_source_files_properties(${SPIKEOPS_MANY_OPTIONS} PROPERTIES COMPILE_OPTIONS "$<$<CXX_COMPILER_ID:GNU>:-fno-unswitch-loops>")
  foreach(isa IN LISTS SPIKEOPS_ISAS)
    if(NOT isa STREQUAL "native")
      target_compile_definitions(${target} PRIVATE SPIKEOPS_HAS_${isa})
    endif()
    if(SPIKEOPS_COMPILED_KERNELS)
      foreach(source IN LISTS SPIKEOPS_CPU_SOURCES)
        get_filename_component(name ${source} NAME)
        set(object ${SPIKEOPS_COMPILED_KERNELS}/CMakeFiles/spikeops_cpu_kernels_${isa}.dir/kernels/cpu/${name}.o)
        if(NOT EXISTS ${object})
          message(FATAL_ERROR "SPIKEOPS_COMPILED_KERNELS: there is no ${object}: build libspikeops_cpu there, or leave the option out")
        endif()
        target_sources(${target} PRIVATE ${object})
      endforeach()
      continue()
    endif()
    set(objects ${target}_kernels_${isa})
    add_library(${objects} OBJECT ${SPIKEOPS_CPU_SOURCES})
    target_compile_definitions(${objects} PRIVATE SPIKEOPS_ISA=${isa})
    # Clang compares the rows of a loop with each other before it works on whole vectors, and by itself 128 pairs at most.
    target_compile_options(${objects} PRIVATE ${SPIKEOPS_KERNEL_FLAGS} -Wall -Wextra
      "$<$<CXX_COMPILER_ID:Clang,AppleClang>:SHELL:-mllvm -pragma-vectorize-memory-check-threshold=1024>")
    if(NOT isa STREQUAL "native")
      target_compile_options(${objects} PRIVATE -march=x86-64-${isa})
      if(isa STREQUAL "v2")
        # For CPUs from before 2013, and Atoms: there to be right, not to be fast. Plain loops take a third of the room, which a wheel of three
        # instruction sets has not left over.
        target_compile_options(${objects} PRIVATE -O2)
      elseif(isa STREQUAL "v4")
        target_compile_options(${objects} PRIVATE -mprefer-vector-width=512)
      endif()
    endif()
    target_sources(${target} PRIVATE $<TARGET_OBJECTS:${objects}>)
  endforeach()
  target_sources(${target} PRIVATE ${_cpu_dir}/select.cpp)
  list(GET SPIKEOPS_ISAS 0 narrowest)
  if(NOT narrowest STREQUAL "native")
    target_compile_definitions(${target} PRIVATE SPIKEOPS_NARROWEST=kernels_${narrowest})
    target_compile_options(${target} PRIVATE -march=x86-64-v2)
  endif()
endfunction()
