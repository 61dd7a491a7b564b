# spikeops_old_runtimes(target): the library asks for no newer C and C++ library than torch's own wheels do (manylinux_2_28), whatever
# machine it is built on. On x86-64 Linux with gcc's C++ library; elsewhere it asks for what the build machine has.
#
# glibc 2.34 moved the functions of libpthread, libdl and librt into libc and gave them new versions; a library that is linked against it asks
# for those. The old versions are still there. So what is linked comes first: empty libraries with the old names, functions and versions, as
# an old system has them. At run time it is the system's own that are loaded.
include(CheckCXXSourceCompiles)
check_cxx_source_compiles("
  #include <string>
  #if !defined(__x86_64__) || !defined(__linux__) || !defined(__GLIBC__) || !defined(__GLIBCXX__) || _GLIBCXX_USE_CXX11_ABI == 0
  #error
  #endif
  int main() {}" SPIKEOPS_HAS_OLD_RUNTIMES)

# Of our own code and of the CUDA runtime, which is linked statically.
set(_functions_of_dl dlclose dlerror dlopen dlsym dlvsym)
set(_functions_of_dl_2.3.4 dlmopen)
set(_functions_of_rt shm_open shm_unlink)
set(_functions_of_pthread
    pthread_condattr_setpshared pthread_create pthread_detach pthread_getspecific pthread_join pthread_key_create pthread_key_delete
    pthread_kill pthread_mutex_trylock pthread_mutexattr_destroy pthread_mutexattr_init pthread_mutexattr_setpshared
    pthread_mutexattr_settype pthread_once pthread_rwlock_destroy pthread_rwlock_init pthread_rwlock_rdlock pthread_rwlock_timedrdlock
    pthread_rwlock_timedwrlock pthread_rwlock_tryrdlock pthread_rwlock_trywrlock pthread_rwlock_unlock pthread_rwlock_wrlock
    pthread_rwlockattr_destroy pthread_rwlockattr_init pthread_rwlockattr_setpshared pthread_setspecific pthread_spin_destroy
    pthread_spin_init pthread_spin_lock pthread_spin_trylock pthread_spin_unlock sem_destroy sem_init sem_post sem_timedwait sem_trywait
    sem_wait)

function(_spikeops_old_library name file)
  if(TARGET old_${name})
    return()
  endif()
  set(code "")
  set(versions "")
  foreach(version 2.2.5 2.3.4)
    set(names ${_functions_of_${name}})
    if(NOT version STREQUAL "2.2.5")
      set(names ${_functions_of_${name}_${version}})
    endif()
    if(names)
      foreach(function IN LISTS names)
        string(APPEND code "asm(\".globl ${function}\\n.type ${function},@function\\n${function}: ret\");\n")
      endforeach()
      list(JOIN names "; " joined)
      string(APPEND versions "GLIBC_${version} { global: ${joined}; };\n")
    endif()
  endforeach()
  set(folder ${CMAKE_CURRENT_BINARY_DIR}/stub)
  file(WRITE ${folder}/old_${name}.cpp "${code}")
  file(WRITE ${folder}/old_${name}.map "${versions}")
  add_library(old_${name} SHARED ${folder}/old_${name}.cpp)
  set_target_properties(old_${name} PROPERTIES PREFIX "" SUFFIX "" OUTPUT_NAME ${file} LIBRARY_OUTPUT_DIRECTORY ${folder})
  target_link_options(old_${name} PRIVATE -nostdlib -Wl,-soname,${file} -Wl,--version-script=${folder}/old_${name}.map)
endfunction()

# spikeops_old_runtimes(target [pthread] [rt]): with what the CUDA runtime needs beyond libdl.
function(spikeops_old_runtimes target)
  if(NOT SPIKEOPS_HAS_OLD_RUNTIMES)
    return()
  endif()
  set(file_pthread libpthread.so.0)
  set(file_dl libdl.so.2)
  set(file_rt librt.so.1)
  foreach(name dl ${ARGN})
    _spikeops_old_library(${name} ${file_${name}})
    target_link_libraries(${target} PRIVATE old_${name})
  endforeach()
  target_sources(${target} PRIVATE ${PROJECT_SOURCE_DIR}/csrc/compat/old_runtimes.cpp)
  target_link_options(${target} PRIVATE -Wl,--wrap=exp)
endfunction()
